"""What tensors say and a configuration does not: other kinds, other parts, two in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.toolkit import adapter_in, edit_config, refusal
from torch import Tensor

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone

PREFIX = "base_model.model."
FIRST = f"{PREFIX}blocks.0.attn.qkv"


def with_tensors(folder: Path, change: Callable[[str], str], keep: bool = False) -> Path:
    """Rename a PEFT directory's tensors; with `keep`, the new names come beside the old."""
    path = folder / MODEL_FILE
    old = load_file(path)
    new = {change(name): tensor.clone() for name, tensor in old.items()}
    save_file({**old, **new} if keep else new, path, metadata={"format": "pt"})
    return folder


def with_one_more(folder: Path, name: str, tensor: Tensor) -> Path:
    path = folder / MODEL_FILE
    save_file({**load_file(path), name: tensor}, path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{FIRST}.lora_magnitude_vector", "DoRA"),
        (f"{FIRST}.dora_scale", "DoRA"),
        (f"{FIRST}.hada_w1_a", "LoHa"),
        (f"{FIRST}.lokr_w1", "LoKr"),
        (f"{FIRST}.oft_r", "OFT"),
        (f"{FIRST}.boft_R", "BOFT"),
        (f"{FIRST}.ia3_l", "IA3"),
        (f"{FIRST}.vera_lambda_b", "VeRA"),
        (f"{FIRST}.fourierft_spectrum", "FourierFT"),
        (f"{FIRST}.lora_E", "AdaLoRA"),
        (f"{FIRST}.lora_B.bias", "lora_bias"),
        (f"{FIRST}.base_layer.bias", "bias"),
        (f"{PREFIX}blocks.0.mlp.fc1.bias", "bias"),
        (f"{FIRST}.alpha", "kohya"),
        ("lora_unet_blocks_0_attn_qkv.lora_down.weight", "kohya"),
        (f"{FIRST}.lora.up.weight", "diffusers"),
        (f"{FIRST}.lora_A.products.weight", "another name"),
        (f"{PREFIX}norm.weight", "not part of a plain LoRA"),
    ],
)
def test_a_tensor_of_another_kind_names_it_whatever_the_configuration_says(
    tmp_path: Path, backbone: Backbone, name: str, kind: str
) -> None:
    folder = with_one_more(adapter_in(tmp_path / "a", backbone), name, torch.zeros(4))
    with refusal(AdapterError, folder, name, kind):
        read_adapter(folder, backbone)


def test_a_file_alone_is_told_by_its_first_tensor(tmp_path: Path) -> None:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"
    path = tmp_path / "product.safetensors"
    save_file({name: torch.zeros(4, 4)}, path)
    with refusal(AdapterError, path, "kohya"):
        read_adapter(path)


@pytest.mark.parametrize("beside", [True, False])
def test_peft_s_weights_without_their_folder_are_told_so(
    tmp_path: Path, backbone: Backbone, beside: bool
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    if not beside:
        (folder / CONFIG_FILE).unlink()
    with refusal(AdapterError, folder / MODEL_FILE, "alone", CONFIG_FILE):
        read_adapter(folder / MODEL_FILE, backbone)


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.removeprefix(PREFIX),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.removeprefix(PREFIX).replace(".weight", ".default.weight"),
    ],
)
def test_two_adapters_in_one_file_are_refused_by_both_names(
    tmp_path: Path, backbone: Backbone, change: Callable[[str], str]
) -> None:
    folder = with_tensors(adapter_in(tmp_path / "a", backbone), change, keep=True)
    first = next(iter(sorted(load_file(folder / MODEL_FILE))))
    with refusal(AdapterError, folder, "twice", repr(first)):
        read_adapter(folder, backbone)


@pytest.mark.parametrize(
    "part", ["language_model", "text_encoder", "decoder", "qformer", "layers.0", "stages.1"]
)
def test_an_adapter_of_another_part_is_never_put_on_the_image_tower(
    tmp_path: Path, backbone: Backbone, part: str
) -> None:
    def change(name: str) -> str:
        return name.replace(f"{PREFIX}blocks", f"{PREFIX}{part}.blocks")

    folder = with_tensors(adapter_in(tmp_path / "a", backbone), change)
    with refusal(AdapterError, folder, repr(part)):
        read_adapter(folder, backbone)


@pytest.mark.parametrize(
    "part", ["encoder", "student", "0", "vision_tower", "trunk", "decoder_only"]
)
def test_what_stands_before_the_image_tower_is_passed(
    tmp_path: Path, backbone: Backbone, part: str
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    plain = read_adapter(folder, backbone)

    def change(name: str) -> str:
        return name.replace(f"{PREFIX}blocks", f"{PREFIX}{part}.blocks")

    assert read_adapter(with_tensors(folder, change), backbone).updates.keys() == (
        plain.updates.keys()
    )


@pytest.mark.parametrize(("start", "known"), [("hyper", False), ("lora_next", False), (True, True)])
def test_an_initialisation_that_is_not_known_is_said(
    tmp_path: Path, backbone: Backbone, start: object, known: bool
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    edit_config(folder, init_lora_weights=start)
    notes = read_adapter(folder, backbone).notes
    assert any("initialisation" in note for note in notes) != known
