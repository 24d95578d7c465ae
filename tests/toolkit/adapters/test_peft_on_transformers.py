"""transformers' own model, with PEFT's own merge, is what ours must compute, to 1e-5."""

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hugging_face import old_vit_name
from support.toolkit import embedding_of, merged_copy, random_pixels, refusal
from support.transformers_families import TRANSFORMERS, FromTransformers

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import MODEL_FILE

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
_PREFIX = "base_model.model."


def _random_lora(model: Any, its: FromTransformers, **further: Any) -> Any:
    """PEFT's own model around transformers', with random A and B."""
    layers = rf".*layers?\..*\.({'|'.join(its.linears)})$"
    config = peft.LoraConfig(**{"r": 3, "lora_alpha": 7, "target_modules": layers, **further})
    tuned = peft.get_peft_model(copy.deepcopy(model), config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return tuned


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_weights_and_a_lora_compute_what_transformers_and_peft_compute(
    family: str, tmp_path: Path
) -> None:
    its = TRANSFORMERS[family]
    model, pixels = its.make(), random_pixels()
    (tmp_path / "base").mkdir()
    backbone = its.load(model, tmp_path / "base")
    plain = its.expected(model, pixels)
    torch.testing.assert_close(embedding_of(backbone.model, pixels), plain, **CLOSE)
    tuned = _random_lora(model, its)
    tuned.save_pretrained(str(tmp_path / "a"))
    expected = its.expected(tuned.merge_and_unload(), pixels)
    adapter = read_adapter(tmp_path / "a", backbone)
    got = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    torch.testing.assert_close(got, expected, **CLOSE)
    assert (expected - plain).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("family", "prefix"),
    [
        ("DeiT, distilled", "deit."),
        ("BEiT", "beit."),
        ("DINOv2", "dinov2."),
        ("DINOv2 with registers", "dinov2_with_registers."),
        ("MSN", "vit."),
        ("I-JEPA", "ijepa."),
    ],
)
def test_layers_are_known_by_the_names_of_older_releases(
    family: str, prefix: str, tmp_path: Path
) -> None:
    its = TRANSFORMERS[family]
    model, pixels = its.make(), random_pixels()
    (tmp_path / "base").mkdir()
    backbone = its.load(model, tmp_path / "base")
    tuned = _random_lora(model, its)
    tuned.save_pretrained(str(tmp_path / "a"))
    named = {
        _PREFIX + prefix + _old(name.removeprefix(_PREFIX)): tensor
        for name, tensor in load_file(tmp_path / "a" / MODEL_FILE).items()
    }
    assert any(".attention.attention.query." in name for name in named)
    save_file(named, tmp_path / "a" / MODEL_FILE)
    updates = read_adapter(tmp_path / "a", backbone).updates
    expected = its.expected(tuned.merge_and_unload(), pixels)
    torch.testing.assert_close(
        embedding_of(merged_copy(backbone, updates).model, pixels), expected, **CLOSE
    )


def _old(name: str) -> str:
    """DINOv2 kept `encoder.layer` and its MLP's names throughout."""
    if not name.startswith("encoder."):
        return old_vit_name(name)
    return old_vit_name(name.replace("mlp", "MLP")).replace("MLP", "mlp")


@pytest.mark.parametrize(
    "further", [{"target_modules": ["fc1", "fc2"]}, {"modules_to_save": ["head"]}]
)
def test_an_adapter_of_the_pooling_that_makes_the_embedding_is_refused(
    further: dict[str, Any], tmp_path: Path
) -> None:
    """SigLIP's `head` is no classifier: without it the embedding would be another."""
    its = TRANSFORMERS["SigLIP"]
    _random_lora(its.make(), its, **further).save_pretrained(str(tmp_path / "a"))
    with refusal(AdapterError, tmp_path / "a", "head.", "pools the tokens"):
        read_adapter(tmp_path / "a")


def test_a_head_on_cls_alone_is_not_used_where_the_embedding_is_of_two_tokens(
    tmp_path: Path,
) -> None:
    from transformers import DeiTForImageClassification

    its = TRANSFORMERS["DeiT, distilled"]
    model = its.make()
    (tmp_path / "base").mkdir()
    backbone = its.load(model, tmp_path / "base")
    whole = DeiTForImageClassification(model.config)
    _random_lora(whole, its, modules_to_save=["classifier"]).save_pretrained(str(tmp_path / "a"))
    adapter = read_adapter(tmp_path / "a", backbone)
    assert adapter.head is None
    assert any("[CLS] alone" in note for note in adapter.notes)
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["modules_to_save"]
