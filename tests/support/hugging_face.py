"""Tiny transformers models, and the names that their files have had over time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from support.toolkit import DEPTH, DIM, SIZE, tiny_backbone
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.backbones.weights import to_timm_names

_SIZES = {
    "hidden_size": DIM,
    "intermediate_size": 3 * DIM,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 16,
}
CLIP_NAMES = {
    "gelu": "vit_base_patch32_clip_224",
    "quick_gelu": "vit_base_patch32_clip_quickgelu_224",
}
_OLD_VIT = (
    (r"^layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
)


def tiny_vit() -> nn.Module:
    """A random transformers ViT of the sizes of `tiny_backbone`, whose parameters all matter."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(**_SIZES, layer_norm_eps=1e-6)
    return _stirred(ViTModel(config, add_pooling_layer=False))


def tiny_clip(activation: str = "quick_gelu") -> nn.Module:
    """A random vision tower of CLIP, of the same sizes."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    return _stirred(CLIPVisionModel(CLIPVisionConfig(**_SIZES, hidden_act=activation)))


def tiny_dinov2(registers: int = 0) -> nn.Module:
    """A random DINOv2, of the same sizes, with or without registers."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    torch.manual_seed(0)
    sizes = {**_SIZES, "mlp_ratio": 3}
    if registers:
        config = Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        return _stirred(Dinov2WithRegistersModel(config))
    return _stirred(Dinov2Model(Dinov2Config(**sizes)))


def tiny_siglip() -> nn.Module:
    """A random vision tower of SigLIP, of the same sizes."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    return _stirred(SiglipVisionModel(SiglipVisionConfig(**_SIZES)))


def tiny_projected_clip() -> nn.Module:
    """A random vision tower of CLIP with its projection to 24 values."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(**_SIZES, hidden_act="quick_gelu", projection_dim=24)
    return _stirred(CLIPVisionModelWithProjection(config))


def saved(model: Any, folder: Path, architecture: str) -> Path:
    """Save as transformers does, and let the file know the sizes that timm shall take."""
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    sizes = {"img_size": SIZE, "patch_size": 16, "depth": DEPTH, "embed_dim": DIM}
    own = {"architecture": architecture, "model_args": {**sizes, "num_heads": 2, "mlp_ratio": 3}}
    save_file(load_file(path), path, metadata={"format": "pt", "vision_edge": json.dumps(own)})
    return path


def _stirred(model: nn.Module) -> nn.Module:
    """Make biases, norms and position embeddings differ from their neutral initial values."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def cls_of_vit(model: Any, pixels: Tensor) -> Tensor:
    return model(pixel_values=pixels).last_hidden_state[:, 0]


@torch.no_grad()
def cls_of_clip(model: Any, pixels: Tensor) -> Tensor:
    """CLIP's pooled output is its class token after the final norm."""
    return model(pixel_values=pixels).pooler_output


def old_vit_name(name: str) -> str:
    """Return the name that a module or tensor of transformers 5 has in older files."""
    for pattern, replacement in _OLD_VIT:
        name = re.sub(pattern, replacement, name)
    return name


def vit_backbone(folder: Path, state: Mapping[str, Tensor], name: str = "test_vit") -> Backbone:
    """Load a transformers ViT's weights as a user would, with `--backbone` and `--weights`."""
    path = folder / "vit.safetensors"
    own = {"architecture": name, "model_args": {"img_size": SIZE, "depth": DEPTH}}
    save_file(dict(state), path, metadata={"vision_edge": json.dumps(own)})
    return load_backbone(BackboneOptions(weights=path))


def clip_backbone(state: Mapping[str, Tensor], activation: str = "quick_gelu") -> Backbone:
    """A tiny timm CLIP tower with a transformers CLIP's weights, loaded strictly."""
    backbone = tiny_backbone(name=CLIP_NAMES[activation], patch_size=16)
    backbone.model.load_state_dict(to_timm_names(state), strict=True)
    return backbone
