"""Adapters exchanged with the `peft` library itself; forward outputs are compared, not keys."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hugging_face import (
    clip_backbone,
    cls_of_clip,
    cls_of_vit,
    old_vit_name,
    tiny_clip,
    tiny_vit,
    vit_backbone,
)
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    adapter_in,
    edit_config,
    embedding_of,
    merged_copy,
    qv_updates,
    random_head,
    random_low_rank,
    random_pixels,
    refusal,
    tiny_backbone,
)
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter, write_adapter
from vision_edge.toolkit.adapters.peft_format import MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone

pytestmark = [
    # peft calls what transformers is about to remove
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
    # which is what "patterns of no whole name" is about
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match"),
]

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
ALL_LINEAR = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
VIT_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]


def _with_classes(backbone: Backbone, way: int) -> nn.Module:
    """The same timm model, as a user of peft has it: with a classifier of random weights."""
    model = copy.deepcopy(backbone.model)
    model.reset_classifier(way)
    return model.eval()


def _tuned(model: nn.Module, **config: Any) -> Any:
    """A peft model whose LoRAs (and saved modules) are not at their initial values."""
    torch.manual_seed(1)
    tuned = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(**config)).eval()
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return tuned


def _saved(tuned: Any, folder: Path) -> Path:
    with warnings.catch_warnings():  # peft looks for the base model's config.json on the hub
        warnings.simplefilter("ignore", UserWarning)
        tuned.save_pretrained(str(folder))
    return folder


@torch.no_grad()
def _cls(tuned: Any, pixels: Tensor) -> Tensor:
    return tuned.base_model.model.forward_features(pixels)[:, 0]


def _assert_changed_by_more_than_rounding(backbone: Backbone, got: Tensor, pixels: Tensor) -> None:
    assert (got - embedding_of(backbone.model, pixels)).abs().max() > 1e-2


# --- ours, loaded by peft --------------------------------------------------------------------


def _mixed_updates() -> dict[str, LowRank]:
    """Query and value of different ranks from module to module, and other layers too."""
    return {
        "blocks.0.attn.qkv": qv_updates(rank=1)["blocks.0.attn.qkv"],
        "blocks.1.attn.qkv": qv_updates(rank=3)["blocks.1.attn.qkv"],
        "blocks.0.mlp.fc2": random_low_rank(BLOCK_LINEARS["mlp.fc2"], 2, seed=5),
        "blocks.1.attn.proj": random_low_rank(BLOCK_LINEARS["attn.proj"], 5, seed=6),
    }


@pytest.mark.parametrize("updates", [qv_updates(), _mixed_updates()], ids=["one rank", "mixed"])
def test_peft_loads_our_adapter_and_computes_the_same(
    tmp_path: Path, backbone: Backbone, updates: dict[str, LowRank]
) -> None:
    head = random_head(7)
    folder = adapter_in(tmp_path / "a", backbone, updates, head=head)
    loaded = peft.PeftModel.from_pretrained(_with_classes(backbone, 7), str(folder)).eval()
    pixels = random_pixels()
    embedding = embedding_of(merged_copy(backbone, updates).model, pixels)
    _assert_changed_by_more_than_rounding(backbone, embedding, pixels)
    with torch.no_grad():
        logits = loaded(pixels)
    torch.testing.assert_close(_cls(loaded, pixels), embedding, **CLOSE)
    torch.testing.assert_close(logits, embedding @ head.weight.T + head.bias, **CLOSE)


def test_block_1_is_not_taken_for_block_11(tmp_path: Path) -> None:
    deep = tiny_backbone(depth=12)
    updates = {"blocks.1.attn.qkv": random_low_rank(BLOCK_LINEARS["attn.qkv"], 2, size=0.2)}
    updates["blocks.11.attn.qkv"] = random_low_rank(BLOCK_LINEARS["attn.qkv"], 3, 1, size=0.2)
    folder = adapter_in(tmp_path / "a", deep, updates)
    loaded = peft.PeftModel.from_pretrained(_with_classes(deep, 2), str(folder)).eval()
    pixels = random_pixels()
    expected = embedding_of(merged_copy(deep, updates).model, pixels)
    torch.testing.assert_close(_cls(loaded, pixels), expected, **CLOSE)


# --- peft's on a timm model, loaded by us ----------------------------------------------------

PEFT_CONFIGS: dict[str, dict[str, Any]] = {
    "alpha is rank": {"r": 4, "lora_alpha": 4},
    "alpha is not rank": {"r": 4, "lora_alpha": 10},
    "rank-stabilised": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "rank pattern": {"r": 2, "lora_alpha": 3, "rank_pattern": {"attn.qkv": 5, r"mlp\.fc[12]": 1}},
    "alpha pattern": {
        "r": 3,
        "lora_alpha": 3,
        "alpha_pattern": {"blocks.0.attn.proj": 12, "fc1": 1},
    },
    "both patterns and rsLoRA": {
        "r": 2,
        "lora_alpha": 5,
        "use_rslora": True,
        "rank_pattern": {r"blocks\.1\..*": 4},
        "alpha_pattern": {r"^blocks\.0\.mlp\.fc2": 9, "qkv": 2},
    },
    "patterns of no whole name": {
        "r": 2,
        "lora_alpha": 5,
        "alpha_pattern": {"attn": 40, "qk": 40, "c1": 40, "blocks.0": 40},
    },
    "the first pattern counts": {"r": 2, "alpha_pattern": {"attn.qkv": 3, "qkv": 30}},
    "fewer layers": {
        "r": 2,
        "lora_alpha": 5,
        "layers_to_transform": [1],
        "layers_pattern": "blocks",
    },
    "Gaussian start": {"r": 2, "lora_alpha": 5, "init_lora_weights": "gaussian"},
    "orthogonal start": {"r": 2, "lora_alpha": 5, "init_lora_weights": "orthogonal"},
    "dropout": {"r": 2, "lora_alpha": 5, "lora_dropout": 0.3},
}


@pytest.mark.parametrize("kind", PEFT_CONFIGS)
def test_we_load_peft_s_adapter_and_compute_the_same(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    tuned = _tuned(
        _with_classes(backbone, 3),
        target_modules=ALL_LINEAR,
        modules_to_save=["head"],
        **PEFT_CONFIGS[kind],
    )
    adapter = read_adapter(_saved(tuned, tmp_path / "a"), backbone)
    pixels = random_pixels()
    got = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    _assert_changed_by_more_than_rounding(backbone, got, pixels)
    torch.testing.assert_close(got, _cls(tuned, pixels), **CLOSE)
    with torch.no_grad():
        logits = tuned(pixels)
    torch.testing.assert_close(got @ adapter.head.weight.T + adapter.head.bias, logits, **CLOSE)


def test_fan_in_fan_out_says_nothing_about_the_update(tmp_path: Path, backbone: Backbone) -> None:
    """It is the base layer's weight that is transposed; peft itself sets it to False on Linear."""
    tuned = _tuned(_with_classes(backbone, 0), target_modules=["attn.qkv"], r=2, lora_alpha=5)
    folder = _saved(tuned, tmp_path / "a")
    edit_config(folder, fan_in_fan_out=True)
    pixels = random_pixels()
    with pytest.warns(UserWarning, match="fan_in_fan_out"):
        loaded = peft.PeftModel.from_pretrained(_with_classes(backbone, 0), str(folder)).eval()
    updates = read_adapter(folder, backbone).updates
    got = embedding_of(merged_copy(backbone, updates).model, pixels)
    torch.testing.assert_close(got, _cls(loaded, pixels), **CLOSE)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "lora_only"}, "lora_only"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    tmp_path: Path, backbone: Backbone, config: dict[str, Any], word: str
) -> None:
    tuned = _tuned(_with_classes(backbone, 0), target_modules=["attn.qkv"], r=2, **config)
    folder = _saved(tuned, tmp_path / "a")
    with refusal(AdapterError, folder, word):
        read_adapter(folder, backbone)


def test_other_kinds_of_adapter_are_refused(tmp_path: Path, backbone: Backbone) -> None:
    config = peft.IA3Config(target_modules=["attn.qkv"], feedforward_modules=[])
    folder = _saved(peft.get_peft_model(_with_classes(backbone, 0), config), tmp_path / "a")
    with refusal(AdapterError, folder, "IA3"):
        read_adapter(folder, backbone)


def test_a_lora_on_the_patch_convolution_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    """The target `proj` also matches timm's patch embedding."""
    tuned = _tuned(_with_classes(backbone, 0), target_modules=["proj"], r=2)
    folder = _saved(tuned, tmp_path / "a")
    with refusal(AdapterError, folder, "patch_embed.proj"):
        read_adapter(folder, backbone)


def test_peft_to_us_to_peft(tmp_path: Path, backbone: Backbone) -> None:
    tuned = _tuned(
        _with_classes(backbone, 3),
        target_modules=ALL_LINEAR,
        modules_to_save=["head"],
        r=3,
        lora_alpha=7,
        rank_pattern={"qkv": 5},
        use_rslora=True,
    )
    adapter = read_adapter(_saved(tuned, tmp_path / "a"), backbone)
    (tmp_path / "b").mkdir()
    write_adapter(tmp_path / "b", adapter.updates, backbone, head=adapter.head)
    again = peft.PeftModel.from_pretrained(_with_classes(backbone, 3), str(tmp_path / "b")).eval()
    pixels = random_pixels()
    with torch.no_grad():
        torch.testing.assert_close(again(pixels), tuned(pixels), **CLOSE)


# --- peft's on transformers models, put onto timm --------------------------------------------


def _renamed(folder: Path, rename: Callable[[str], str]) -> Path:
    """Rename the modules in an adapter's tensors, as another release would have written them."""
    prefix = "base_model.model."
    tensors = {}
    for name, tensor in load_file(folder / MODEL_FILE).items():
        module, dot, rest = name.removeprefix(prefix).partition(".lora_")
        tensors[f"{prefix}{rename(module)}{dot}{rest}"] = tensor
    save_file(tensors, folder / MODEL_FILE)
    return folder


VIT_NAMES: dict[str, Callable[[str], str]] = {
    "transformers 5": lambda module: module,
    "transformers 5, in a classifier": lambda module: f"vit.{module}",
    "older": old_vit_name,
    "older, in a classifier": lambda module: f"vit.{old_vit_name(module)}",
}


@pytest.mark.parametrize("names", VIT_NAMES)
@pytest.mark.parametrize(
    "targets", [["q_proj", "v_proj"], VIT_LINEAR], ids=["query and value", "all"]
)
def test_a_lora_of_a_hugging_face_vit_embeds_the_same_in_timm(
    tmp_path: Path, names: str, targets: list[str]
) -> None:
    model = tiny_vit()
    timm_vit = vit_backbone(tmp_path, model.state_dict())
    tuned = _tuned(model, target_modules=targets, r=3, lora_alpha=7, use_rslora=True)
    folder = _renamed(_saved(tuned, tmp_path / "a"), VIT_NAMES[names])
    updates = read_adapter(folder, timm_vit).updates
    pixels = random_pixels()
    got = embedding_of(merged_copy(timm_vit, updates).model, pixels)
    _assert_changed_by_more_than_rounding(timm_vit, got, pixels)
    torch.testing.assert_close(got, cls_of_vit(tuned, pixels), **CLOSE)


def test_ranks_and_alphas_by_pattern_hold_for_separate_projections(tmp_path: Path) -> None:
    model = tiny_vit()
    timm_vit = vit_backbone(tmp_path, model.state_dict())
    tuned = _tuned(
        model,
        target_modules=VIT_LINEAR,
        r=2,
        lora_alpha=3,
        rank_pattern={"q_proj": 5, "layers.1.attention.v_proj": 1},
        alpha_pattern={"k_proj": 8, r"layers\.0\.mlp.*": 1},
    )
    updates = read_adapter(_saved(tuned, tmp_path / "a"), timm_vit).updates
    pixels = random_pixels()
    got = embedding_of(merged_copy(timm_vit, updates).model, pixels)
    assert updates["blocks.0.attn.qkv"].rank == 5 + 2 + 2
    assert updates["blocks.1.attn.qkv"].rank == 5 + 2 + 1
    torch.testing.assert_close(got, cls_of_vit(tuned, pixels), **CLOSE)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_a_lora_of_a_hugging_face_clip_embeds_the_same_in_timm(
    tmp_path: Path, activation: str, prefix: str
) -> None:
    model = tiny_clip(activation)
    timm_clip = clip_backbone(model.state_dict(), activation)
    targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    tuned = _tuned(model, target_modules=targets, r=3, lora_alpha=5)
    folder = _renamed(_saved(tuned, tmp_path / "a"), lambda module: prefix + module)
    updates = read_adapter(folder, timm_clip).updates
    pixels = random_pixels()
    got = embedding_of(merged_copy(timm_clip, updates).model, pixels)
    _assert_changed_by_more_than_rounding(timm_clip, got, pixels)
    torch.testing.assert_close(got, cls_of_clip(tuned, pixels), **CLOSE)


def test_a_lora_of_a_vit_goes_back_to_peft_on_the_timm_model(tmp_path: Path) -> None:
    model = tiny_vit()
    timm_vit = vit_backbone(tmp_path, model.state_dict())
    tuned = _tuned(model, target_modules=["q_proj", "v_proj"], r=2, lora_alpha=5)
    adapter = read_adapter(_saved(tuned, tmp_path / "a"), timm_vit)
    folder = adapter_in(tmp_path / "b", timm_vit, adapter.updates)
    on_timm = peft.PeftModel.from_pretrained(_with_classes(timm_vit, 0), str(folder)).eval()
    pixels = random_pixels()
    torch.testing.assert_close(_cls(on_timm, pixels), cls_of_vit(tuned, pixels), **CLOSE)
    assert adapter.updates["blocks.0.attn.qkv"].shape == (3 * DIM, DIM)
