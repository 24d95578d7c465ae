"""The meta-LoRA while it is trained: low-rank updates of frozen linear layers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER

WHOLE = ""
"""The part of a layer that is adapted as a whole."""


class MetaLinear(nn.Module):
    """A frozen linear layer with trainable low-rank updates of its parts.

    The update is added to the weight, not to the output: one small product a layer in place of
    reading and writing every token twice more.

    Args:
        base: The frozen layer, (out, in).
        updates: By part: `"q"`, `"k"` and `"v"` of a fused `qkv`, or `""` for the whole layer.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, base: nn.Linear, updates: Mapping[str, LowRank]) -> None:
        super().__init__()
        device = base.weight.device
        self.register_buffer("weight", base.weight.detach().float())
        self.register_buffer("bias", None if base.bias is None else base.bias.detach().float())
        self.A = nn.ParameterDict({_key(p): u.A.to(device).clone() for p, u in updates.items()})
        self.B = nn.ParameterDict({_key(p): u.B.to(device).clone() for p, u in updates.items()})
        self.parts = tuple(updates)

    def delta(self) -> Tensor:
        """Return the update of the whole weight: float32 (out, in)."""
        products = {part: self.B[_key(part)] @ self.A[_key(part)] for part in self.parts}
        if WHOLE in products:
            whole: Tensor = products[WHOLE]
            return whole
        zero = torch.zeros_like(next(iter(products.values())))
        return torch.cat([products.get(part, zero) for part in QKV_ORDER])

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), in the dtype of `x`."""
        weight = (self.weight + self.delta()).to(x.dtype)
        return F.linear(x, weight, None if self.bias is None else self.bias.to(x.dtype))

    def update(self) -> LowRank:
        """Return the update as it is now, on the CPU."""
        parts = {
            part: LowRank(
                self.A[_key(part)].detach().float().cpu().clone(),
                self.B[_key(part)].detach().float().cpu().clone(),
            )
            for part in self.parts
        }
        return joined(parts)


def _key(part: str) -> str:
    return part or "whole"


class MetaLora(nn.Module):
    """A frozen vision transformer with a trainable meta-LoRA in it.

    Args:
        model: A copy of the backbone's model in float32, on its device; it is changed.
        updates: Where the meta-LoRA starts.
        dtype: What the frozen part computes in.
    """

    def __init__(
        self,
        model: VisionTransformer,
        updates: Mapping[str, LowRank],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        parts: dict[str, dict[str, LowRank]] = {}
        for name, update in projections(dict(updates)):
            module, _, part = name.partition(":")
            parts.setdefault(module, {})[part] = update
        layers = {
            module: MetaLinear(_linear(model, module), found) for module, found in parts.items()
        }
        model = model.to(dtype)
        for module, layer in layers.items():
            parent, _, child = module.rpartition(".")
            setattr(model.get_submodule(parent), child, layer)
        self.model = model
        self.layers = layers

    def factors(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return [p for layer in self.layers.values() for p in layer.parameters()]

    def updates(self) -> dict[str, LowRank]:
        """Return the meta-LoRA as it is now, on the CPU."""
        return {module: layer.update() for module, layer in self.layers.items()}


def _linear(model: VisionTransformer, module: str) -> nn.Linear:
    layer = model.get_submodule(module)
    assert isinstance(layer, nn.Linear)
    return layer


def random_updates(
    model: VisionTransformer, rank: int, seed: int, parts: str = "qv"
) -> dict[str, LowRank]:
    """Return a LoRA as one starts tuning it: A at random (He et al. 2015), B zero.

    B is given the smallest value that is not zero, so that a part is known to be there.
    """
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for index in range(len(model.blocks)):
        layer = _linear(model, f"blocks.{index}.attn.qkv")
        width, rows = layer.in_features, layer.out_features // len(QKV_ORDER)
        bound = 1 / math.sqrt(width)
        found = {}
        for part in parts:
            A = (torch.rand(rank, width, generator=generator) * 2 - 1) * bound
            found[part] = LowRank(A, torch.full((rows, rank), 1e-12))
        updates[f"blocks.{index}.attn.qkv"] = joined(found)
    return updates
