"""The projections of a timm block that LoRAs adapt, apart and joined."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER


def projections(updates: dict[str, LowRank]) -> Iterator[tuple[str, LowRank]]:
    """Yield each projection's own update: those of a fused `qkv` apart, those of rank 0 not at all.

    A LoRA on query alone has zeros in the other rows of B; they are no part of it.
    """
    for module, update in updates.items():
        if not module.endswith(".qkv"):
            yield module, update
            continue
        for part, index in QKV_ORDER.items():
            rows = update.B.chunk(len(QKV_ORDER))[index]
            used = rows.abs().sum(dim=0) > 0
            if bool(used.any()):
                yield f"{module}:{part}", LowRank(update.A[used], rows[:, used])


def joined(parts: dict[str, LowRank]) -> LowRank:
    """Write the updates of query, key and value as one update of the fused layer."""
    if "" in parts:
        return parts[""]
    width = next(iter(parts.values())).shape[0]
    blocks = []
    for part, update in parts.items():
        placed = torch.zeros(len(QKV_ORDER) * width, update.rank)
        placed[QKV_ORDER[part] * width : (QKV_ORDER[part] + 1) * width] = update.B
        blocks.append(placed)
    return LowRank(torch.cat([u.A for u in parts.values()]), torch.cat(blocks, dim=1))


def weight_of(model: nn.Module, projection: str) -> Tensor:
    """Return the weight that a projection's update is added to.

    Args:
        model: A timm vision transformer.
        projection: A name as `projections` yields it, such as `blocks.0.attn.qkv:q`.

    Returns:
        float32 (out, in); of a fused `qkv` the projection's rows.
    """
    module, _, part = projection.partition(":")
    weight: Tensor = model.get_submodule(module).weight.detach()  # type: ignore[operator]
    return weight.chunk(len(QKV_ORDER))[QKV_ORDER[part]] if part else weight
