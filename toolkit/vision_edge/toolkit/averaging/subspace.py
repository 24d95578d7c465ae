"""Averaging adapters where each of them could see: the start of recycling.

A LoRA `B_i A_i` changes what happens to inputs in the row space of `A_i`, r directions of D, and
says nothing about all others. These directions are mostly those that `A_i` was given at random
before tuning. A plain mean counts an adapter's silence as a vote for no change, and counts
directions twice in which two adapters happen to look. What all adapters try to say together is
the update that agrees with each of them where it could see:

    min_W  sum_i ||(W - B_i A_i) P_i||^2 + ridge ||W||^2,    P_i the projector on A_i's row space
    W = (sum_i B_i A_i) (sum_i P_i + ridge I)^-1

This is RegMean (Jin et al., ICLR 2023, equation 2) with `P_i`, which needs no data, in place of
the Gram matrix of the layer's inputs.

How large the result should be follows from how far the adapters agree. Let `rho` be the mean
cosine between two adapters: the share of an adapter's energy that is common to all. The mean of
n adapters is signal by the share `rho / (rho + (1 - rho) / n)` (Wiener's factor); the norm of W is
the mean's, times that share, times a constant. A single adapter stays as it is.

`docs/explanation/recycling.md` has the measurements behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.hub import ignore, read_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.backbones.backbone import Backbone

LEAST_AGREEMENT = 1e-4
"""What `rho` counts as when adapters do not agree at all."""

MOST = 4.0
"""The update is never larger than this many times the adapters' own (root mean square) norm."""


@dataclass(frozen=True)
class SubspaceSettings:
    """Settings of the subspace average.

    Attributes:
        rank: Rank of each projection's update.
        ridge: Weight of `||W||^2`; the larger, the nearer to the plain mean's direction.
        gain: Norm of the update over that of the mean of products, where all of it is signal.
    """

    rank: int = 96
    ridge: float = 0.5
    gain: float = 40.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise VisionEdgeError(f"rank must be at least 1; got {self.rank}", fix="raise --rank")
        for name in ("ridge", "gain"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise VisionEdgeError(
                    f"{name} must be a positive number; got {value}",
                    fix="leave it at its default",
                )


@dataclass(frozen=True)
class SubspaceAverage:
    """The subspace average of a hub.

    Attributes:
        updates: Update by timm module.
        agreement: `rho`, the mean cosine between two adapters.
        signal: Wiener's factor.
        norm: Norm of the whole update over that of the mean of products.
        energy_kept: Share of the update's energy that is left at the rank.
    """

    updates: dict[str, LowRank]
    agreement: float
    signal: float
    norm: float
    energy_kept: float


@dataclass
class _Sums:
    """What one projection's adapters add up to.

    Attributes:
        products: sum of B_i A_i, (out, in).
        seen: sum of P_i, (in, in).
        energy: sum of ||B_i A_i||^2.
    """

    products: Tensor
    seen: Tensor
    energy: float = 0.0

    def add(self, update: LowRank) -> None:
        self.products.addmm_(update.B, update.A)
        basis = torch.linalg.qr(update.A.T)[0]  # (in, r)
        self.seen.addmm_(basis, basis.T)
        self.energy += update.squared_norm()


def subspace_average(
    hub: Path,
    backbone: Backbone,
    settings: SubspaceSettings | None = None,
    *,
    skipped: Mapping[str, str] | None = None,
    trust_base: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> SubspaceAverage:
    """Average a hub's adapters, each where it could see; they are read one at a time, once.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        settings: Rank, ridge and gain.
        skipped: Names of adapters to leave out.
        trust_base: Take adapters whatever base they record.
        progress: Called with each adapter's name.

    Raises:
        AdapterError: If an adapter cannot be used, or all are zero.
    """
    settings = settings or SubspaceSettings()
    sums: dict[str, _Sums] = {}
    count = 0
    for adapter in read_hub(hub, backbone, on_bad=ignore(skipped or {}), trust_base=trust_base):
        progress(adapter.name)
        count += 1
        for name, update in projections(adapter.updates):
            out, width = update.shape
            if name not in sums:
                sums[name] = _Sums(torch.zeros(out, width), torch.zeros(width, width))
            sums[name].add(update)
    if not sums:
        raise AdapterError(
            f"{hub}: all of its adapters are zero: they change nothing",
            fix="give adapters that were tuned",
        )
    agreement = _agreement(sums, count)
    signal = agreement / (agreement + (1 - agreement) / count)
    norm = _norm(sums, count, settings.gain * signal)
    updates, kept = _solved(sums, count, settings, norm)
    return SubspaceAverage(updates, agreement, signal, norm, kept)


def _agreement(sums: Mapping[str, _Sums], count: int) -> float:
    """Return the mean cosine between two adapters: 1 for a single one."""
    if count == 1:
        return 1.0
    total = sum(float(s.products.double().square().sum()) for s in sums.values())
    own = sum(s.energy for s in sums.values())
    return max((total - own) / ((count - 1) * max(own, 1e-30)), LEAST_AGREEMENT)


def _norm(sums: Mapping[str, _Sums], count: int, wanted: float) -> float:
    """Return the update's norm over that of the mean, within its limit."""
    if count == 1:
        return 1.0
    mean = math.sqrt(sum(float(s.products.square().sum()) for s in sums.values())) / count
    own = math.sqrt(sum(s.energy for s in sums.values()) / count)
    return min(wanted, MOST * own / max(mean, 1e-30))


def _solved(
    sums: Mapping[str, _Sums], count: int, settings: SubspaceSettings, norm: float
) -> tuple[dict[str, LowRank], float]:
    """Solve each projection, cut it to the rank, and scale it; return the updates by module."""
    grouped: dict[str, dict[str, LowRank]] = {}
    whole, kept = 0.0, 0.0
    for name, total in sums.items():
        seen = total.seen + settings.ridge * torch.eye(len(total.seen))
        U, S, Vh = torch.linalg.svd(torch.linalg.solve(seen, total.products.T).T, False)
        rank = min(settings.rank, len(S))
        size = float(total.products.norm()) / count * norm
        whole += size**2
        kept += size**2 * float(S[:rank].square().sum() / S.square().sum().clamp_min(1e-30))
        root = (S[:rank] * (size / float(S[:rank].norm().clamp_min(1e-30)))).sqrt()
        module, _, part = name.partition(":")
        update = LowRank(root[:, None] * Vh[:rank], U[:, :rank] * root)
        grouped.setdefault(module, {})[part] = update
    updates = {module: joined(parts) for module, parts in grouped.items()}
    return updates, kept / max(whole, 1e-30)
