"""How a hub's adapters relate: norms, cosines, outliers, and groups that agree among themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.projections import projections
from vision_edge.toolkit.averaging.subspace import ProjectionSum

OUTLIER_Z = 3.5
"""Modified z-score beyond which an adapter is called an outlier (Iglewicz and Hoaglin 1993)."""

MOST_ROWS = 2048
"""Rows of A, over all adapters, up to which every pair is compared; more would need much memory."""

APART = 0.35
"""Two groups are one where the cosines between them reach this share of those within them."""

UNLIKE = 0.003
"""Mean cosine below which adapters count as unlike each other; random ones of ViT-Tiny: 0.001."""


@dataclass(frozen=True)
class Comparison:
    """What comparing a hub's adapters with their sum and with each other gave.

    Attributes:
        norm: Frobenius norm of the weighted sum.
        own: Norms of the adapters.
        agreement: Mean cosine between two adapters, each pair as their norms weigh; 1 for one.
        groups: Indices of adapters that agree among themselves, the largest group first; None
            where the hub is too large to compare every pair.
    """

    norm: float
    own: list[float]
    agreement: float
    groups: list[list[int]] | None


def compare(
    adapters: Iterable[Adapter],
    sums: Mapping[str, ProjectionSum],
    facts: Sequence[dict[str, Any]],
) -> Comparison:
    """Compare each adapter with the sum of all, and all with each other.

    Fills in each fact's `norm`, `cosine_to_mean`, `cosine_to_rest` and `outlier`. The norm of the
    sum S comes from the same inner products: |S|^2 = sum_i w_i <P_i, S>.

    Args:
        adapters: Those of `facts`, in the same order.
        sums: The weighted sum of each projection.
        facts: One an adapter, with its `weight`.
    """
    inner, own, pairs = [], [], _Pairs()
    for adapter in adapters:
        parts = dict(projections(adapter.updates))
        inner.append(sum(sums[name].products.inner(update) for name, update in parts.items()))
        own.append(sum(update.squared_norm() for update in parts.values()))
        pairs.add(parts)
    weights = [float(fact["weight"]) for fact in facts]
    total = max(sum(w * i for w, i in zip(weights, inner, strict=True)), 0.0)
    rest = []
    for fact, weight, with_sum, square in zip(facts, weights, inner, own, strict=True):
        fact["norm"] = math.sqrt(square)
        fact["cosine_to_mean"] = _cosine(with_sum, square, total)
        others = total - 2 * weight * with_sum + weight**2 * square  # |S - w P_i|^2
        fact["cosine_to_rest"] = (
            _cosine(with_sum - weight * square, square, others) if len(facts) > 1 else None
        )
        rest.append(fact["cosine_to_rest"])
    cosines = pairs.cosines()
    groups = None if cosines is None else groups_of(cosines)
    friends = {index for group in groups or () if len(group) > 1 for index in group}
    for index, (fact, far) in enumerate(zip(facts, _outliers(rest), strict=True)):
        fact["outlier"] = far and index not in friends  # a second domain is no outlier
    norms = [math.sqrt(square) for square in own]
    return Comparison(math.sqrt(total), norms, _agreement(total, norms, weights), groups)


def _agreement(total: float, norms: Sequence[float], weights: Sequence[float]) -> float:
    lengths = [weight * norm for weight, norm in zip(weights, norms, strict=True)]
    own = sum(length**2 for length in lengths)
    between = sum(lengths) ** 2 - own
    return (total - own) / between if len(norms) > 1 and between > 0 else 1.0


def _cosine(inner: float, left_squared: float, right_squared: float) -> float:
    length = math.sqrt(max(left_squared, 0.0) * max(right_squared, 0.0))
    return inner / length if length > 0 else 0.0


def _outliers(cosines: list[float | None]) -> list[bool]:
    """Flag adapters that agree with the rest far less than the others do (modified z-score)."""
    values = np.array([c for c in cosines if c is not None])
    if len(values) < 4:
        return [False] * len(cosines)
    median = np.median(values)
    spread = max(float(np.median(np.abs(values - median))), 1e-3)
    return [c is not None and bool(0.6745 * (median - c) / spread > OUTLIER_Z) for c in cosines]


@dataclass
class _Pairs:
    """Factors of all adapters, side by side, while they are few enough to compare every pair."""

    count: int = 0
    rows: int = 0
    _parts: dict[str, list[tuple[int, LowRank]]] = field(default_factory=dict)

    def add(self, parts: Mapping[str, LowRank]) -> None:
        self.rows += max((update.rank for update in parts.values()), default=0)
        if self.rows > MOST_ROWS:
            self._parts.clear()
        else:
            for name, update in parts.items():
                self._parts.setdefault(name, []).append((self.count, update))
        self.count += 1

    def cosines(self) -> NDArray[np.float64] | None:
        """Return the cosine of every pair, float64 (n, n), or None if there were too many."""
        if self.rows > MOST_ROWS:
            return None
        gram = torch.zeros(self.count, self.count, dtype=torch.float64)
        for entries in self._parts.values():
            gram += self._gram(entries)
        lengths = gram.diagonal().clamp_min(1e-30).sqrt()
        cosines: NDArray[np.float64] = (gram / lengths / lengths[:, None]).numpy()
        return cosines

    def _gram(self, entries: Sequence[tuple[int, LowRank]]) -> Tensor:
        """Return <B_i A_i, B_j A_j> of one projection: the sum of a block of (B^T B) * (A A^T)."""
        A = torch.cat([update.A for _, update in entries])
        B = torch.cat([update.B for _, update in entries], dim=1)
        owner = torch.cat([torch.full((update.rank,), index) for index, update in entries])
        blocks = ((B.T @ B) * (A @ A.T)).double()
        place = torch.zeros(len(owner), self.count, dtype=torch.float64)
        place[torch.arange(len(owner)), owner] = 1.0
        return place.T @ blocks @ place


def groups_of(cosines: NDArray[np.float64]) -> list[list[int]]:
    """Group adapters that agree among themselves and hardly with others, by average linkage.

    Args:
        cosines: Of every pair, (n, n).

    Returns:
        Indices, the largest group first. Adapters that are unlike all others stay alone.
    """
    groups = [[index] for index in range(len(cosines))]
    while len(groups) > 1:
        means = _means(cosines, groups)
        within = means.diagonal().copy()
        np.fill_diagonal(means, -np.inf)
        one, other = sorted(map(int, np.unravel_index(int(np.argmax(means)), means.shape)))
        levels = [within[g] for g in (one, other) if len(groups[g]) > 1]
        if means[one, other] < max(UNLIKE, APART * min(levels, default=0.0)):
            break
        groups[one] += groups.pop(other)
    return sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group))


def _means(cosines: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the mean cosine between groups, and on the diagonal that within each."""
    place = np.zeros((len(groups), len(cosines)))
    for row, group in enumerate(groups):
        place[row, list(group)] = 1.0
    sizes = place.sum(axis=1)
    totals = place @ cosines @ place.T
    pairs = np.outer(sizes, sizes)
    np.fill_diagonal(totals, totals.diagonal() - sizes)
    np.fill_diagonal(pairs, np.maximum(sizes * (sizes - 1), 1.0))
    means: NDArray[np.float64] = totals / pairs
    return means
