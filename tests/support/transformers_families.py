"""Each family that transformers has and that is read: tiny, random, with its own embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from support.hugging_face import _SIZES, _stirred, saved
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone

_OLD = ["query", "value"]


@dataclass(frozen=True)
class FromTransformers:
    """One family.

    Attributes:
        model: Name of transformers' class of models.
        config: Name of its configuration's class.
        architecture: timm's name of the model.
        embedding: What of the output is the embedding, (N, D).
        further: Arguments of the configuration, beyond the sizes.
        linears: Last names of all linear layers of a block.
        prefix: Of the layers' names, in an adapter of the classifier.
    """

    model: str
    config: str
    architecture: str
    embedding: Callable[[Any], Tensor]
    further: dict[str, Any]
    linears: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2")

    def make(self, **further: Any) -> nn.Module:
        """Return the model with random weights that all matter."""
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**{**_SIZES, **self.further, **further})
        return _stirred(getattr(transformers, self.model)(config))

    def load(self, model: nn.Module, folder: Path) -> Backbone:
        """Load what transformers saves, as a user would."""
        weights = saved(model, folder, self.architecture)
        return load_backbone(BackboneOptions(weights=weights))

    @torch.no_grad()
    def expected(self, model: Any, pixels: Tensor) -> Tensor:
        """Return what transformers (and peft around it) computes."""
        return self.embedding(model(pixel_values=pixels))


def _token(index: int) -> Callable[[Any], Tensor]:
    return lambda output: output.last_hidden_state[:, index]


def _mean(first: int, last: int | None = None) -> Callable[[Any], Tensor]:
    return lambda output: output.last_hidden_state[:, first:last].mean(1)


def _pooled(output: Any) -> Tensor:
    return output.pooler_output


_SELF_ATTN = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
_UP_DOWN = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
_V3 = {"num_register_tokens": 4}
TRANSFORMERS = {
    "ViT": FromTransformers("ViTModel", "ViTConfig", "vit_base_patch16_224", _token(0), {}),
    "ViT of another epsilon": FromTransformers(
        "ViTModel", "ViTConfig", "vit_base_patch16_224", _token(0), {"layer_norm_eps": 1e-3}
    ),
    "DeiT, as it is published": FromTransformers(
        "ViTModel", "ViTConfig", "deit_tiny_patch16_224", _token(0), {}
    ),
    "DeiT, distilled": FromTransformers(
        "DeiTModel", "DeiTConfig", "deit_tiny_distilled_patch16_224", _mean(0, 2), {}
    ),
    "BEiT": FromTransformers(
        "BeitModel", "BeitConfig", "beit_base_patch16_224", _pooled,
        {"use_relative_position_bias": True},
    ),
    "DINOv2": FromTransformers(
        "Dinov2Model", "Dinov2Config", "vit_small_patch14_dinov2", _pooled, {"mlp_ratio": 3}
    ),
    "DINOv2 with registers": FromTransformers(
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", "vit_small_patch14_reg4_dinov2",
        _pooled, {"mlp_ratio": 3, "num_register_tokens": 4},
    ),
    "DINOv3": FromTransformers(
        "DINOv3ViTModel", "DINOv3ViTConfig", "vit_small_patch16_dinov3_qkvb", _mean(5), _V3,
        _UP_DOWN,
    ),
    "DINOv3, gated": FromTransformers(
        "DINOv3ViTModel", "DINOv3ViTConfig", "vit_small_plus_patch16_dinov3_qkvb", _mean(5),
        {**_V3, "use_gated_mlp": True, "hidden_act": "silu"}, (*_UP_DOWN, "gate_proj"),
    ),
    "CLIP": FromTransformers(
        "CLIPVisionModel", "CLIPVisionConfig", "vit_base_patch32_clip_224", _pooled, {}, _SELF_ATTN
    ),
    "SigLIP": FromTransformers(
        "SiglipVisionModel", "SiglipVisionConfig", "vit_base_patch16_siglip_224", _pooled, {},
        _SELF_ATTN,
    ),
    "MAE": FromTransformers(
        "ViTMAEModel", "ViTMAEConfig", "vit_base_patch16_224.mae", _token(0), {"mask_ratio": 0.0}
    ),
    "MSN": FromTransformers("ViTMSNModel", "ViTMSNConfig", "vit_base_patch16_224", _token(0), {}),
    "I-JEPA": FromTransformers(
        "IJepaModel", "IJepaConfig", "vit_huge_patch14_gap_224.in1k_ijepa", _mean(0), {}
    ),
}  # fmt: skip
