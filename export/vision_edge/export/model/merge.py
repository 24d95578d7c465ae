"""Merging a low-rank update into a model's weights.

LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1): W' = W + B A. Done in float32, checked
against float64, so that the merged model costs nothing at run time and is provably the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vision_edge.runtime.errors import AdapterError

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LowRank:
    """An update `B @ A` of one linear layer; every scaling is in `B` already.

    Attributes:
        A: float32 (r, in).
        B: float32 (out, r).
    """

    A: Tensor
    B: Tensor

    @property
    def rank(self) -> int:
        """Number of rank-one terms, r."""
        return int(self.A.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the update and of the weight it changes: (out, in)."""
        return int(self.B.shape[0]), int(self.A.shape[1])

    def product(self) -> Tensor:
        """Return the update as a matrix, float32 (out, in)."""
        return self.B @ self.A

    def squared_norm(self) -> float:
        """Return the squared Frobenius norm of the update, without making the matrix."""
        return float(((self.B.T @ self.B) * (self.A @ self.A.T)).sum(dtype=torch.float64))


def merge(model: nn.Module, updates: Mapping[str, LowRank]) -> None:
    """Add updates to the weights of a model's linear layers, in place.

    Args:
        model: A float32 model.
        updates: Update by module name, such as `blocks.0.attn.qkv`. All are checked before the
            first weight changes.

    Raises:
        AdapterError: If a module is absent or not linear, a shape differs, a value is not finite,
            or a merged weight is not `W + B A` to rounding.
    """
    layers = {name: changed_layer(model, name, update) for name, update in updates.items()}
    merged = {name: _sum(name, layers[name].weight, update) for name, update in updates.items()}
    with torch.no_grad():
        for name, weight in merged.items():
            layers[name].weight.copy_(weight)


def changed_layer(model: nn.Module, name: str, update: LowRank) -> nn.Linear:
    """Return the linear layer that an update changes.

    Raises:
        AdapterError: If there is none of that name, or its shape is another.
    """
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Linear):
        raise AdapterError(
            f"the backbone has no linear layer {name!r}",
            fix="use the backbone that the adapter was tuned on",
        )
    shape = tuple(layer.weight.shape)
    if shape != update.shape:
        raise AdapterError(
            f"{name}: the adapter changes a weight of shape {update.shape}, the backbone's has "
            f"{shape}",
            fix="use the backbone that the adapter was tuned on",
        )
    return layer


def _sum(name: str, weight: Tensor, update: LowRank) -> Tensor:
    """Return W + B A in float32, compared with the same sum in float64."""
    merged = weight.detach().float() + update.product()
    if not torch.isfinite(merged).all():
        raise AdapterError(
            f"{name}: merging gives values that are not finite (NaN or infinity)",
            fix="the adapter is damaged or diverged in training; leave it out",
        )
    exact = weight.detach().double() + update.B.double() @ update.A.double()
    error = float((merged - exact).abs().max())
    if error > _TOLERANCE * max(1.0, float(exact.abs().max())):
        raise AdapterError(f"{name}: merged weight differs from W + B A by {error:.2e}")
    return merged
