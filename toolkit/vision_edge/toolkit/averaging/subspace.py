"""Averaging adapters where each of them could see.

A LoRA `B_i A_i` changes what happens to inputs in the row space of `A_i`, r directions of D, and
says nothing about all others. These directions are mostly those that `A_i` was given at random
before tuning. A plain mean counts an adapter's silence as a vote for no change, and counts
directions twice in which two adapters happen to look. What all adapters try to say together is
the update that agrees with each of them where it could see:

    min_W  sum_i w_i ||(W - B_i A_i) P_i||^2 + ridge ||W||^2,  P_i the projector on A_i's row space
    W = (sum_i w_i B_i A_i) (sum_i w_i P_i + ridge I)^-1

This is RegMean (Jin et al., ICLR 2023, equation 2) with `P_i`, which needs no data, in place of
the Gram matrix of the layer's inputs. Only the direction of W counts here; each projection's share
of the whole is that of the plain mean, and `size` says how large the whole is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.averaging.products import ProductSum

NOISE = 1e-5
"""Singular values below this share of the largest are rounding, not part of the update."""


@dataclass
class ProjectionSum:
    """What one projection's adapters add up to.

    Attributes:
        products: Weighted sum of B_i A_i.
        seen: Weighted sum of P_i, (in, in); None where only the plain mean is wanted.
    """

    products: ProductSum
    seen: Tensor | None

    @classmethod
    def empty(cls, shape: tuple[int, int], sees: bool) -> ProjectionSum:
        """Return the sum of nothing, for products of a shape (out, in)."""
        return cls(ProductSum(shape), torch.zeros(shape[1], shape[1]) if sees else None)

    def add(self, update: LowRank, weight: float) -> None:
        """Add one adapter's product, and what it could see."""
        self.products.add(LowRank(update.A, update.B * weight))
        if self.seen is not None:
            basis = torch.linalg.qr(update.A.T)[0]  # (in, r)
            self.seen.addmm_(basis, basis.T, alpha=weight)

    def cut(self, rank: int, ridge: float | None) -> tuple[LowRank, float]:
        """Return the average's direction at a rank, as long as the sum is, and the energy kept.

        The cut is that of the singular value decomposition: no matrix of that rank is nearer
        (Eckart and Young 1936).

        Args:
            rank: Most rank-one terms.
            ridge: Weight of `||W||^2`; None for the direction of the plain mean.
        """
        U, S, Vh = self.products.svd()
        length = S.norm()
        if ridge is not None and self.seen is not None:
            seen = self.seen + ridge * torch.eye(len(self.seen))
            solved = torch.linalg.solve(seen, ((U * S) @ Vh).T).T
            U, S, Vh = torch.linalg.svd(solved, full_matrices=False)
        rank = min(rank, int((S / S.max() > NOISE).sum()))
        kept = S[:rank].norm()
        energy = float(kept.double().square() / S.double().square().sum().clamp_min(1e-30))
        root = (S[:rank] * (length / kept.clamp_min(1e-30))).sqrt()
        return LowRank(root[:, None] * Vh[:rank], U[:, :rank] * root), energy
