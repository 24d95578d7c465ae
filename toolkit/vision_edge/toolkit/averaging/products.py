"""The scaled average of products: a meta-LoRA from a hub in seconds, without data or training.

Averaging the factors A and B apart destroys LoRAs, for each is written in its own random basis.
What can be averaged are the products: the mean of `B_i A_i`, times a coefficient, cut back to rank
r by the singular value decomposition (Eckart and Young 1936: no matrix of rank r is nearer).
Query, key and value are cut apart, as LoRAs on them are tuned apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.hub import hub_notes, read_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.backbones.backbone import Backbone

OUTLIER_Z = 3.5
"""Modified z-score beyond which an adapter is called an outlier (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class AverageSettings:
    """Settings of `build --method average`.

    Attributes:
        rank: Rank of each projection's update.
        scale: Coefficient on the mean. 4 serves near and far domains; 8 helps far ones and costs
            the near one; 16 is too much.
    """

    rank: int = 4
    scale: float = 4.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise VisionEdgeError(f"rank must be at least 1; got {self.rank}", fix="raise --rank")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise VisionEdgeError(
                f"scale must be a positive number; got {self.scale}", fix="4 is a good start"
            )


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


@dataclass(frozen=True)
class AverageResult:
    """The meta-LoRA and what is known about it.

    Attributes:
        updates: Update by timm module.
        report: For `report.json`: JSON values only.
    """

    updates: dict[str, LowRank]
    report: dict[str, Any]


def average_hub(
    hub: Path,
    backbone: Backbone,
    settings: AverageSettings | None = None,
    *,
    skip_bad: bool = False,
    trust_base: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> AverageResult:
    """Average a hub's products, reading its adapters one at a time, twice.

    The first pass sums; the second compares each adapter with the mean.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        settings: Rank and scale.
        skip_bad: Leave out adapters that cannot be used, and say so in the report.
        trust_base: Take adapters whatever base they record.
        progress: Called with each adapter's name.

    Returns:
        The meta-LoRA and its report.

    Raises:
        AdapterError: If the hub is empty, all its adapters are zero or, without `skip_bad`, one
            cannot be used.
    """
    settings = settings or AverageSettings()
    skipped: dict[str, str] = {}

    def leave_out(name: str, error: AdapterError) -> None:
        skipped[name] = str(error)

    on_bad = leave_out if skip_bad else None
    sums: dict[str, ProductSum] = {}
    facts: list[dict[str, Any]] = []
    for adapter in read_hub(hub, backbone, on_bad=on_bad, trust_base=trust_base):
        progress(adapter.name)
        for name, update in projections(adapter.updates):
            sums.setdefault(name, ProductSum(update.shape)).add(update)
        facts.append(_facts(adapter, backbone))
    if not facts:
        raise AdapterError(
            f"{hub}: none of its {len(skipped)} adapters can be used: "
            + "; ".join(list(skipped.values())[:3]),
            fix="mend them, or give another hub or backbone",
        )
    if not sums:
        raise AdapterError(
            f"{hub}: all of its {len(facts)} adapters are zero: they change nothing",
            fix="give adapters that were tuned",
        )
    again = read_hub(hub, backbone, on_bad=on_bad, trust_base=trust_base)
    squared = _compare(again, sums, facts)
    updates, modules = _cut(sums, len(facts), settings)
    report = {
        "method": "average",
        "settings": asdict(settings),
        "backbone": backbone.info().model_dump(),
        "adapters": facts,
        "skipped": skipped,
        "hub_notes": hub_notes(hub),
        "mean_norm": math.sqrt(squared) / len(facts),
        "modules": modules,
        "energy_kept": _total_energy(modules),
    }
    return AverageResult(updates, report)


def _facts(adapter: Adapter, backbone: Backbone) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "sha256": adapter.sha256,
        "base": adapter.base,
        "base_verified": adapter.backbone_sha256 == backbone.sha256,
        "method": adapter.method,
        "classes": list(adapter.classes),
        "has_head": adapter.head is not None,
        "notes": list(adapter.notes),
    }


def _compare(
    adapters: Iterable[Adapter],
    sums: dict[str, ProductSum],
    facts: list[dict[str, Any]],
) -> float:
    """Fill in each adapter's norm and cosines, and return the squared norm of the sum.

    The norm of the sum S comes from the same inner products: |S|^2 = sum_i <P_i, S>.
    """
    inner, own = [], []
    for adapter in adapters:
        parts = list(projections(adapter.updates))
        inner.append(sum(sums[name].inner(update) for name, update in parts))
        own.append(sum(update.squared_norm() for _, update in parts))
    total = max(sum(inner), 0.0)
    rest = []
    for fact, with_sum, square in zip(facts, inner, own, strict=True):
        fact["norm"] = math.sqrt(square)
        fact["cosine_to_mean"] = _cosine(with_sum, square, total)
        others = total - 2 * with_sum + square  # |S - P_i|^2
        fact["cosine_to_rest"] = (
            _cosine(with_sum - square, square, others) if len(facts) > 1 else None
        )
        rest.append(fact["cosine_to_rest"])
    for fact, outlier in zip(facts, _outliers(rest), strict=True):
        fact["outlier"] = outlier
    return total


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


def _cut(
    sums: dict[str, ProductSum], count: int, settings: AverageSettings
) -> tuple[dict[str, LowRank], dict[str, dict[str, float]]]:
    """Scale and cut each projection; return the updates by module, and facts by projection."""
    grouped: dict[str, dict[str, LowRank]] = {}
    facts: dict[str, dict[str, float]] = {}
    for name in sorted(sums, key=_module_order):
        U, S, Vh = sums[name].svd()
        S = S * (settings.scale / count)
        rank = min(settings.rank, len(S))
        energy = S.double().square()
        facts[name] = {
            "rank": rank,
            "norm": float(energy.sum().sqrt()),
            "energy_kept": float(energy[:rank].sum() / energy.sum().clamp_min(1e-30)),
        }
        root = S[:rank].sqrt()
        module, _, part = name.partition(":")
        grouped.setdefault(module, {})[part] = LowRank(
            root[:, None] * Vh[:rank], U[:, :rank] * root
        )
    return {module: joined(parts) for module, parts in grouped.items()}, facts


def _module_order(name: str) -> tuple[int, str]:
    return int(name.split(".")[1]), name


def _total_energy(modules: dict[str, dict[str, float]]) -> float:
    squares = {name: fact["norm"] ** 2 for name, fact in modules.items()}
    kept = sum(squares[name] * fact["energy_kept"] for name, fact in modules.items())
    return kept / max(sum(squares.values()), 1e-30)
