"""CLIP's projection of the image into the space that it shares with text."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from vision_edge.toolkit.backbones.families import is_clip


def projection_widths(name: str) -> set[int]:
    """Return the widths that the projections of a CLIP model have in timm; none for other models.

    A tag with `_ft_` was tuned as a classifier: its head is no projection.

    Args:
        name: timm's name, with or without a tag.
    """
    if not is_clip(name):
        return set()
    architecture, _, tag = name.partition(".")
    names = [name] if tag else timm.list_pretrained(f"{architecture}.*")
    found = [timm.get_pretrained_cfg(n) for n in names if "_ft_" not in n]
    return {int(config.num_classes) for config in found if config and config.num_classes}


def projection_head(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the head that projects, as timm has it, if these weights carry one.

    Args:
        name: timm's name of the model.
        tensors: By their names in timm or transformers.

    Returns:
        `head.weight` float32 (P, D) and `head.bias` (P,); empty where there is no projection.
    """
    if not is_clip(name):
        return {}
    for key, tensor in tensors.items():
        if key.endswith("visual_projection.weight") and tensor.ndim == 2:
            return _head(tensor, None)
    weight = tensors.get("head.weight")
    if weight is None or weight.ndim != 2 or len(weight) not in projection_widths(name):
        return {}
    return _head(weight, tensors.get("head.bias"))


def _head(weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    zeros = torch.zeros(len(weight))
    return {"head.weight": weight.float(), "head.bias": zeros if bias is None else bias.float()}
