from pathlib import Path
from typing import Any

import pytest
import torch
from support.peft_adapters import saved, tuned
from support.toolkit import DIM, adapter_in, edit_config, edit_tensors, qv_updates
from torch import Tensor

from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.heads import head_root, read_head
from vision_edge.toolkit.backbones.backbone import Backbone

W, B = torch.randn(5, DIM), torch.randn(5)
PREFIX = "base_model.model."
USED: dict[str, dict[str, Tensor]] = {
    **{
        f"{name}, {'with' if bias else 'no'} bias": {
            f"{name}.weight": W,
            **({f"{name}.bias": B} if bias else {}),
        }
        for name in ("classifier", "score", "head", "fc", "model.classifier", "heads.head")
        for bias in (True, False)
    },
    "modules_to_save": {"classifier.modules_to_save.default.weight": W},
    "modules_to_save, named": {"score.modules_to_save.task1.weight": W},
    "timm's head.fc": {"head.fc.weight": W, "head.fc.bias": B},
    "out_proj alone": {"classifier.out_proj.weight": W, "classifier.out_proj.bias": B},
    "CLIP probe": {"classification_head.weight": W},
    "dropout first": {"classifier.1.weight": W, "classifier.1.bias": B},
    "float16": {"classifier.weight": W.half()},
}
UNUSED: dict[str, tuple[dict[str, Tensor], list[str]]] = {
    "DINOv2's width": ({"classifier.weight": torch.ones(5, 2 * DIM)}, ["twice", "[CLS]"]),
    "another width": ({"head.weight": torch.ones(5, DIM + 1)}, [str(DIM + 1), str(DIM)]),
    "two layers": (
        {
            "classifier.dense.weight": torch.ones(DIM, DIM),
            "classifier.out_proj.weight": W,
        },
        ["classifier", "2 layers"],
    ),
    "norm and linear": (
        {"head.0.weight": torch.ones(DIM), "head.0.bias": torch.ones(DIM), "head.1.weight": W},
        ["2 layers"],
    ),
    "two heads": ({"head.weight": W, "head_dist.weight": W}, ["'head'", "'head_dist'"]),
    "LoRA on it": (
        {"classifier.lora_A.weight": torch.ones(2, DIM), "classifier.lora_B.weight": B[:, None]},
        ["classifier", "itself a LoRA"],
    ),
    "bias too long": ({"head.weight": W, "head.bias": torch.ones(6)}, ["(6,)", "no linear layer"]),
    "bias alone": ({"head.bias": B}, ["no linear layer"]),
    "a convolution": ({"head.weight": torch.ones(5, DIM, 1, 1)}, ["no linear layer"]),
}


def _with(folder: Path, backbone: Backbone, tensors: dict[str, Tensor]) -> Path:
    adapter_in(folder, backbone)
    edit_tensors(folder, {PREFIX + name: tensor.clone() for name, tensor in tensors.items()})
    return folder


@pytest.mark.parametrize("kind", USED)
def test_a_linear_head_is_found(tmp_path: Path, backbone: Backbone, kind: str) -> None:
    adapter = read_adapter(_with(tmp_path / "a", backbone, USED[kind]), backbone)
    bias = next((t for name, t in USED[kind].items() if name.endswith("bias")), None)
    assert adapter.head is not None
    torch.testing.assert_close(adapter.head.weight, W, atol=1e-3, rtol=1e-3)
    assert (adapter.head.bias is None) == (bias is None)
    assert adapter.notes == () or "classifier.1" in adapter.notes[0]


@pytest.mark.parametrize("kind", UNUSED)
def test_a_head_of_another_kind_is_noted_and_does_not_cost_the_adapter(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    tensors, words = UNUSED[kind]
    adapter = read_adapter(_with(tmp_path / "a", backbone, tensors), backbone)
    assert adapter.head is None
    assert adapter.updates.keys() == qv_updates().keys()
    (note,) = adapter.notes
    assert all(word in note for word in [*words, "used"]), note


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_a_head_on_the_mean_of_the_patches_is_noted(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    folder = _with(tmp_path / "a", backbone, {"classifier.weight": W})
    mapping = {"base_model_class": f"{kind}ForImageClassification", "parent_library": "__main__"}
    edit_config(folder, auto_mapping=mapping)
    adapter = read_adapter(folder, backbone)
    assert adapter.head is None
    assert "mean of the patches" in adapter.notes[0]


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({"modules_to_save": ["head"]}, True),
        ({"target_modules": ["attn.qkv", "head"]}, False),
        ({}, False),
    ],
)
def test_heads_as_peft_saves_them(
    tmp_path: Path, backbone: Backbone, options: dict[str, Any], used: bool
) -> None:
    model = tuned(backbone, 4, r=2, **options)
    adapter = read_adapter(saved(model, tmp_path / "a"), backbone)
    assert (adapter.head is not None) == used
    if adapter.head is not None and adapter.head.bias is not None:
        merged = model.merge_and_unload()
        torch.testing.assert_close(adapter.head.weight, merged.head.weight.detach())
        torch.testing.assert_close(adapter.head.bias, merged.head.bias.detach())


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("classifier.weight", "classifier"),
        ("vit.encoder.layer.0.attention.attention.query", None),
        ("model.score.modules_to_save.default.weight", "model.score"),
        ("blocks.0.mlp.fc1.weight", None),
        ("blocks.0.attn.head.weight", None),
        ("fc_norm.weight", None),
        ("layernorm.weight", None),
    ],
)
def test_what_belongs_to_a_head(name: str, root: str | None) -> None:
    assert head_root(name) == root


def test_no_tensors_make_no_head_and_no_note() -> None:
    assert read_head({}) == (None, [])
