"""What transformers' `config.json` states of a model beyond the shapes of its weights.

Weights of another number of heads, another epsilon or another period of rotary positions load into
a model of the same shapes and compute something else, so what is stated is checked or taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm.layers.norm import RmsNorm
from torch import nn

from vision_edge.runtime.errors import BackboneError

READ_TYPES = frozenset(
    (
        "beit", "clip", "clip_vision_model", "deit", "dinov2", "dinov2_with_registers",
        "dinov3_vit", "ijepa", "siglip", "siglip_vision_model", "timm_wrapper", "vit", "vit_mae",
        "vit_msn",
    )
)  # fmt: skip
"""transformers' types of models whose weights are read, each compared with its own forward."""
_INSTEAD = {
    "siglip2": "its pictures are cut into patches of any number; give a SigLIP 2 of a fixed size, "
    "such as google/siglip2-base-patch16-224, with --backbone vit_base_patch16_siglip_224",
    "siglip2_vision_model": "its pictures are cut into patches of any number; give a SigLIP 2 of a "
    "fixed size, such as google/siglip2-base-patch16-224",
    "aimv2": "give timm's own file of the model, such as timm/aimv2_large_patch14_224.apple_pt",
    "aimv2_vision_model": "give timm's own file of the model, such as "
    "timm/aimv2_large_patch14_224.apple_pt",
    "eva": "give timm's own file of the model",
    "vit_hybrid": "a convolutional network makes its patches; give a plain ViT",
}
_OTHERWISE = (
    "give weights of a ViT, DeiT, BEiT, DINOv2, DINOv3, CLIP, SigLIP, MAE, MSN or I-JEPA, or "
    "timm's own file of the model; docs/reference/backbones.md lists them"
)
_TAGS = {"vit_mae": "mae", "vit_msn": "msn"}
_MOST_EPS = 1e-2
_NORMS = (nn.LayerNorm, RmsNorm)


@dataclass(frozen=True)
class TransformersConfig:
    """What is stated; None where it is not.

    Attributes:
        kind: transformers' type of the model.
        heads: Heads of a block's attention.
        eps: Added to the variance in every norm.
        rope_theta: Base period of rotary positions.
        image_size: Side of the pictures that it was trained on, in pixels.
    """

    kind: str | None = None
    heads: int | None = None
    eps: float | None = None
    rope_theta: float | None = None
    image_size: int | None = None

    @property
    def tag(self) -> str | None:
        """What tells these weights from a plain ViT of the same shape, as a tag of timm's names."""
        return _TAGS.get(self.kind or "")

    def fit(self, model: Any, name: str, where: str) -> None:
        """Give a model the epsilon that is stated, and check the rest, in place.

        Args:
            model: As timm made it.
            name: timm's name of it, for messages.
            where: The weights, for messages.

        Raises:
            BackboneError: If the model has other heads or rotary positions.
        """
        heads = int(model.blocks[0].attn.num_heads)
        if self.heads is not None and self.heads != heads:
            raise _differs(where, f"{self.heads} heads of attention", f"{name} has {heads}")
        rope = getattr(model, "rope", None)
        theta = getattr(rope, "temperature", None)
        if self.rope_theta is not None and theta is not None and theta != self.rope_theta:
            raise _differs(where, f"rope_theta {self.rope_theta}", f"{name} has {theta}")
        if self.eps is not None:
            for module in model.modules():
                if isinstance(module, _NORMS):
                    module.eps = self.eps


def transformers_config(document: Mapping[str, Any], path: Path) -> TransformersConfig:
    """Understand a `config.json` of transformers; nothing is stated by one of another library.

    Args:
        document: The file's contents.
        path: The file, for messages.

    Raises:
        BackboneError: If it states a type of model that is not read, or values that make no sense.
    """
    kind = document.get("model_type")
    if kind is None:
        return TransformersConfig()
    if not isinstance(kind, str):
        raise BackboneError(
            f"{path}: states model_type {kind!r:.80}, which is no text",
            fix="copy the file again as it was published, or move it away from the weights",
        )
    if kind not in READ_TYPES:
        raise BackboneError(
            f"{path}: states weights of transformers' {kind!r}, which are not read",
            fix=_INSTEAD.get(kind, _OTHERWISE),
        )
    vision = document.get("vision_config")
    inner = vision if isinstance(vision, Mapping) else document
    size, rope = inner.get("image_size"), inner.get("rope_parameters")
    turning = inner if inner.get("rope_theta") or not isinstance(rope, Mapping) else rope
    return TransformersConfig(
        kind,
        _number(inner, "num_attention_heads", path, 1, 1024, whole=True),
        _number(inner, "layer_norm_eps", path, 0.0, _MOST_EPS),
        _number(turning, "rope_theta", path, 1.0, 1e9),
        size if type(size) is int else None,
    )


def _number(
    document: Mapping[str, Any],
    key: str,
    path: Path,
    least: float,
    most: float,
    *,
    whole: bool = False,
) -> Any:
    value = document.get(key)
    if value is None:
        return None
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not least <= value <= most:
        raise BackboneError(
            f"{path}: states {key} {value!r:.80}, which is no number from {least:g} to {most:g}",
            fix="copy the file again as it was published, or move it away from the weights",
        )
    return value


def _differs(where: str, stated: str, ours: str) -> BackboneError:
    return BackboneError(
        f"{where}: config.json beside the weights states {stated}, {ours}: it would compute "
        "something else",
        fix="check --backbone: name the model that these weights belong to",
    )
