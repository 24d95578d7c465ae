"""Weights by their authors' own names, against timm's own reading of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from support.toolkit import DEPTH, DIM, SIZE, refusal
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.backbones.open_clip_config import OPEN_CLIP_FILE
from vision_edge.toolkit.backbones.stated import read_stated

SIZES = {"img_size": SIZE, "patch_size": 16, "depth": DEPTH, "embed_dim": DIM, "num_heads": 2}
CLIP = "vit_base_patch32_clip_224"
TO_OPEN_CLIP = (
    ("cls_token", "class_embedding"), ("pos_embed", "positional_embedding"),
    ("patch_embed.proj.", "conv1."), ("norm_pre.", "ln_pre."),
    ("blocks.", "transformer.resblocks."),
    (".norm1.", ".ln_1."), (".norm2.", ".ln_2."), ("norm.", "ln_post."),
    ("attn.qkv.", "attn.in_proj_"), ("attn.proj.", "attn.out_proj."),
    ("mlp.fc1.", "mlp.c_fc."), ("mlp.fc2.", "mlp.c_proj."),
)  # fmt: skip


def model(name: str, **further: Any) -> Any:
    torch.manual_seed(0)
    made = timm.create_model(name, **{"num_classes": 0, **SIZES, **further})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made.eval()


def open_clip(name: str = CLIP) -> dict[str, Tensor]:
    """A CLIP of 512 values as open_clip saves it, with a text tower."""
    state = model(name, num_classes=512).state_dict()
    tensors = {
        "text_projection": torch.randn(8, 8),
        "transformer.resblocks.0.ln_1.bias": state.pop("head.bias"),
    }
    for key, tensor in state.items():
        renamed = "proj" if key == "head.weight" else key
        for ours, theirs in TO_OPEN_CLIP:
            renamed = renamed.replace(ours, theirs)
        plain = tensor.T if key == "head.weight" else tensor
        tensors[f"visual.{renamed}"] = (
            plain.reshape(plain.shape[1:]) if key == "pos_embed" else plain
        )
    tensors["visual.class_embedding"] = tensors["visual.class_embedding"].flatten()
    return tensors


def dinov2(registers: int = 0) -> dict[str, Tensor]:
    """A DINOv2 as its authors save it: positions of [CLS] too, and the token of hidden patches."""
    state = model("vit_small_patch14_dinov2").state_dict()
    further = {"register_tokens": torch.randn(1, registers, DIM)} if registers else {}
    return {**state, **further, "mask_token": torch.randn(1, DIM)}


LAYOUTS: dict[str, tuple[str, Callable[[], dict[str, Tensor]]]] = {
    "open_clip": (CLIP, open_clip),
    "open_clip, of a trainer": (CLIP, lambda: {f"module.{n}": t for n, t in open_clip().items()}),
    "open_clip around timm": (
        "vit_base_patch16_siglip_224",
        lambda: {
            "logit_scale": torch.zeros(1),
            **{
                f"visual.trunk.{n}": t
                for n, t in model("vit_base_patch16_siglip_224").state_dict().items()
            },
        },
    ),
    "DINOv2": ("vit_small_patch14_dinov2", dinov2),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", lambda: dinov2(4)),
}  # fmt: skip


def loaded(
    folder: Path, name: str, tensors: dict[str, Tensor], files: dict[str, Any] | None = None,
) -> Backbone:  # fmt: skip
    path = folder / "open_clip_model.safetensors"
    own = {"architecture": name, "model_args": SIZES}
    kept = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
    save_file(kept, path, metadata={"vision_edge": json.dumps(own)})
    for file, document in (files or {}).items():
        (folder / file).write_text(json.dumps(document), encoding="utf-8")
    return load_backbone(BackboneOptions(weights=path))


def embedding(module: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return module(pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_computes_what_timm_reads_from_it(tmp_path: Path, layout: str) -> None:
    name, make = LAYOUTS[layout]
    tensors = make()
    expected = model(name, num_classes=512 if name == CLIP else 0)
    expected.load_state_dict(checkpoint_filter_fn(dict(tensors), expected))
    backbone = loaded(tmp_path, name, tensors)
    pixels = torch.randn(2, 3, SIZE, SIZE)
    got, wanted = embedding(backbone.model, pixels), embedding(expected, pixels)
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_the_decoder_of_mae_s_pretraining_is_left_out(tmp_path: Path) -> None:
    plain = model("vit_base_patch16_224").state_dict()
    further = {
        "mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": torch.zeros(1, 5, 8),
        "decoder_embed.weight": torch.zeros(8, DIM), "decoder_norm.bias": torch.zeros(8),
        "decoder_pred.weight": torch.zeros(8, 8),
        "decoder_blocks.0.attn.qkv.weight": torch.zeros(24, 8),
    }  # fmt: skip
    whole = loaded(tmp_path, "vit_base_patch16_224", {**plain, **further})
    assert whole.sha256 == loaded(tmp_path, "vit_base_patch16_224", plain).sha256


def test_dinov3_s_own_layout_is_refused_by_name(tmp_path: Path) -> None:
    tensors = {"storage_tokens": torch.zeros(1, 4, DIM), "cls_token": torch.zeros(1, 1, DIM)}
    with refusal(BackboneError, "DINOv3's own code", "timm/vit_small_patch16_dinov3"):
        loaded(tmp_path, "vit_small_patch16_dinov3", tensors)


def test_open_clip_s_head_of_several_layers_is_not_left_out(tmp_path: Path) -> None:
    name = "vit_base_patch16_siglip_224"
    tensors = {f"visual.trunk.{n}": t for n, t in model(name).state_dict().items()}
    tensors |= {f"visual.head.mlp.fc{n}.weight": torch.zeros(DIM, DIM) for n in (1, 2)}
    with refusal(BackboneError, "visual.head.mlp.fc1.weight"):
        loaded(tmp_path, name, tensors)


def config(**further: Any) -> dict[str, Any]:
    pixels = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    tower = {"layers": 2, "width": 64}
    return {
        OPEN_CLIP_FILE: {
            "model_cfg": {"embed_dim": 512, "vision_cfg": tower, **further},
            "preprocess_cfg": pixels,
        }
    }


@pytest.mark.parametrize(("quick", "activation"), [(True, "QuickGELU"), (False, "GELU")])
def test_open_clip_s_configuration_decides_activation_and_pixels(
    tmp_path: Path, quick: bool, activation: str
) -> None:
    files = config(quick_gelu=True) if quick else config()
    backbone = loaded(tmp_path, CLIP, open_clip(), files)
    assert backbone.spec.mean == (0.1, 0.2, 0.3)
    assert backbone.spec.std == (0.4, 0.5, 0.6)
    assert type(backbone.model.blocks[0].mlp.act).__name__ == activation
    assert any(OPEN_CLIP_FILE in note for note in backbone.notes)


def test_open_clip_s_configuration_names_the_tower_of_timm(tmp_path: Path) -> None:
    files = config(vision_cfg={"timm_model_name": "vit_base_patch16_siglip_224.v2_webli"})
    (tmp_path / OPEN_CLIP_FILE).write_text(json.dumps(files[OPEN_CLIP_FILE]), encoding="utf-8")
    stated = read_stated(tmp_path / "open_clip_model.safetensors")
    assert stated.architecture == "vit_base_patch16_siglip_224.v2_webli"
    assert stated.activation is None


@pytest.mark.parametrize("text", ["[]", "{}", '{"model_cfg": 3, "preprocess_cfg": [1]}'])
def test_a_configuration_of_open_clip_that_says_nothing_is_no_error_or_a_refusal(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / OPEN_CLIP_FILE).write_text(text, encoding="utf-8")
    if text == "[]":
        with refusal(BackboneError, OPEN_CLIP_FILE):
            read_stated(tmp_path / "x.safetensors")
    else:
        assert read_stated(tmp_path / "x.safetensors").activation is None
