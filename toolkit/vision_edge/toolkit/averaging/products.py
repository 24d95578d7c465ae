"""Sums of products `B A`, kept no larger than the matrices that they make.

Averaging the factors A and B apart destroys LoRAs, for each is written in its own random basis.
What can be averaged are the products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank


@dataclass
class ProductSum:
    """A sum of products `B A` of one projection.

    Kept as factors side by side while they are smaller than the matrix they make, then as that
    matrix: exact either way, and never larger than the matrix, however many are added.

    Attributes:
        shape: (out, in) of the products.
    """

    shape: tuple[int, int]
    _A: list[Tensor] = field(default_factory=list)  # each (r, in)
    _B: list[Tensor] = field(default_factory=list)  # each (out, r)
    _dense: Tensor | None = None  # (out, in)

    def add(self, update: LowRank) -> None:
        """Add one product."""
        if self._dense is not None:
            self._dense.addmm_(update.B, update.A)
            return
        self._A.append(update.A)
        self._B.append(update.B)
        rank = sum(len(A) for A in self._A)
        if rank * sum(self.shape) > math.prod(self.shape):
            self._dense = torch.cat(self._B, dim=1) @ torch.cat(self._A)
            self._A, self._B = [], []

    def inner(self, update: LowRank) -> float:
        """Return the Frobenius inner product of the sum with `B A`."""
        if self._dense is not None:
            return float(((update.B.T @ self._dense) * update.A).sum(dtype=torch.float64))
        left = update.B.T @ torch.cat(self._B, dim=1)  # (r, R)
        right = update.A @ torch.cat(self._A).T  # (r, R)
        return float((left * right).sum(dtype=torch.float64))

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return U (out, k), S (k,), V^T (k, in) of the sum."""
        if self._dense is not None:
            U, S, Vh = torch.linalg.svd(self._dense, full_matrices=False)
            return U, S, Vh
        Q_out, R_out = torch.linalg.qr(torch.cat(self._B, dim=1))
        Q_in, R_in = torch.linalg.qr(torch.cat(self._A).T)
        U, S, Vh = torch.linalg.svd(R_out @ R_in.T, full_matrices=False)
        return Q_out @ U, S, Vh @ Q_in.T
