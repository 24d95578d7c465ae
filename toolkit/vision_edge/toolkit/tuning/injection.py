"""LoRA layers for training on timm's fused attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER


class LoraQKV(nn.Module):
    """A frozen fused `qkv` layer with one LoRA each on some of query, key and value.

    Args:
        base: The frozen layer, (3 D, D).
        rank: Rank of each LoRA; their scale is 1.
        parts: Which of `"q"`, `"k"`, `"v"` are adapted.
    """

    def __init__(self, base: nn.Linear, rank: int, parts: str = "qv") -> None:
        super().__init__()
        self.base = base
        self.parts = parts
        width = base.out_features // len(QKV_ORDER)
        shape = (len(parts), rank, base.in_features)
        self.A = nn.Parameter(torch.empty(shape, device=base.weight.device))  # (parts, r, D)
        self.B = nn.Parameter(torch.zeros(len(parts), width, rank, device=base.weight.device))
        for factor in self.A:
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, D) to (N, T, 3 D)."""
        qkv: Tensor = self.base(x)
        down = F.linear(x, self.A.flatten(0, 1))  # (N, T, parts * r)
        up = [F.linear(h, b) for h, b in zip(down.chunk(len(self.parts), -1), self.B, strict=True)]
        place = dict(zip(self.parts, up, strict=True))
        zero = torch.zeros_like(up[0])
        return qkv + torch.cat([place.get(part, zero) for part in QKV_ORDER], dim=-1)

    def update(self) -> LowRank:
        """Return what it adds to the fused weight, of rank `parts * r`."""
        width, rank = self.B.shape[1:]
        B = torch.zeros(len(QKV_ORDER) * width, len(self.parts) * rank)
        for index, part in enumerate(self.parts):
            rows = slice(QKV_ORDER[part] * width, (QKV_ORDER[part] + 1) * width)
            B[rows, index * rank : (index + 1) * rank] = self.B[index].detach().float().cpu()
        return LowRank(self.A.detach().float().cpu().flatten(0, 1), B)


def inject(model: VisionTransformer, rank: int, parts: str = "qv") -> dict[str, LoraQKV]:
    """Put a `LoraQKV` into every block of a frozen model, in place.

    Args:
        model: The model; its own weights stay frozen.
        rank: Rank of each LoRA.
        parts: Which projections are adapted.

    Returns:
        The new layers by the name of the module that they wrap.
    """
    layers = {}
    for index, block in enumerate(model.blocks):
        attention = block.attn
        attention.qkv = LoraQKV(attention.qkv, rank, parts)  # type: ignore[union-attr, arg-type]
        layers[f"blocks.{index}.attn.qkv"] = attention.qkv  # type: ignore[union-attr]
    return layers


def reset(layers: dict[str, LoraQKV]) -> None:
    """Start again from a random A and a zero B: the model is its backbone again."""
    for layer in layers.values():
        with torch.no_grad():
            layer.B.zero_()
            for factor in layer.A:
                nn.init.kaiming_uniform_(factor, a=math.sqrt(5))
