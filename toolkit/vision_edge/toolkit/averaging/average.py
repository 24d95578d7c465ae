"""The average of a hub: a meta-LoRA in seconds, without data or training.

Its direction is the subspace average (`subspace`), or the plain mean of products; its size is the
rule's (`size`). Query, key and value are cut apart, as LoRAs on them are tuned apart. Adapters that
change nothing are left out, and one that is there twice counts once (`usable`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.hub import adapter_paths, hub_notes, name_in_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.averaging.comparison import Comparison, compare
from vision_edge.toolkit.averaging.counsel import counsel, warnings
from vision_edge.toolkit.averaging.size import check_scale, sized
from vision_edge.toolkit.averaging.subspace import ProjectionSum
from vision_edge.toolkit.averaging.usable import (
    Distinct,
    Weights,
    check_matches,
    check_weights,
    usable_adapters,
    weight_for,
)
from vision_edge.toolkit.backbones.backbone import Backbone

LEAST_LEFT = 1e-4
"""Norm of the sum over that of its terms below which adapters cancel, and only rounding is left."""


@dataclass(frozen=True)
class AverageSettings:
    """Settings of an average.

    Attributes:
        rank: Most rank-one terms of each projection's update.
        scale: Multiple of the size that the rule says (`size.TURN`).
        ridge: Weight of `||W||^2` in the subspace average; the larger, the nearer to the plain
            mean's direction. None takes the plain mean itself.
        weights_of: Weights by patterns of adapters' names; without one an adapter weighs 1.
    """

    rank: int = 96
    scale: float = 1.0
    ridge: float | None = 0.5
    weights_of: Weights = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise VisionEdgeError(f"rank must be at least 1; got {self.rank}", fix="raise --rank")
        check_scale(self.scale)
        check_weights(self.weights_of)
        if self.ridge is not None and not (math.isfinite(self.ridge) and self.ridge > 0):
            raise VisionEdgeError(
                f"ridge must be a positive number; got {self.ridge}", fix="leave it at its default"
            )


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
    """Average a hub, reading its adapters one at a time, twice.

    The first pass sums; the second compares each adapter with the sum.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        settings: Rank, size, direction, weights.
        skip_bad: Leave out adapters that cannot be used, and say so in the report.
        trust_base: Take adapters whatever base they record.
        progress: Called with each adapter's name.

    Returns:
        The meta-LoRA and its report.

    Raises:
        AdapterError: If the hub is empty, all its adapters are zero or cancel each other or,
            without `skip_bad`, one cannot be used.
        VisionEdgeError: If weights are given to adapters that are not there.
    """
    chosen = settings or AverageSettings()
    names = [name_in_hub(path, hub) for path in adapter_paths(hub)]
    check_matches(hub, names, chosen.weights_of)
    gathered = _Gathered(backbone, chosen)
    skipped: dict[str, str] = {}

    def leave_out(name: str, error: AdapterError) -> None:
        skipped[name] = str(error)

    on_bad = leave_out if skip_bad else None
    for adapter in usable_adapters(hub, backbone, {}, on_bad, trust_base):
        progress(adapter.name)
        reason = gathered.add(adapter)
        if reason is not None:
            skipped[adapter.name] = reason
    _refuse_nothing(hub, gathered, skipped)
    again = usable_adapters(hub, backbone, skipped, None, trust_base)
    compared = compare(again, gathered.sums, gathered.facts)
    _refuse_cancelled(hub, gathered, compared)
    updates, modules = gathered.cut()
    updates, size = sized(updates, backbone, chosen.scale, own=_own_norm(compared))
    report = {
        "method": "average",
        "settings": settings_document(chosen),
        "backbone": backbone.info().model_dump(),
        "adapters": gathered.facts,
        "skipped": skipped,
        "hub_notes": hub_notes(hub),
        "mean_norm": compared.norm / sum(fact["weight"] for fact in gathered.facts),
        "agreement": compared.agreement,
        "groups": _groups(gathered.facts, compared.groups),
        "size": size.document(),
        "modules": modules,
        "energy_kept": _total_energy(modules),
    }
    report |= {"warnings": warnings(report), "counsel": counsel(report)}
    return AverageResult(updates, report)


def settings_document(settings: AverageSettings) -> dict[str, Any]:
    """Return settings as JSON values."""
    return {**asdict(settings), "weights_of": [list(pair) for pair in settings.weights_of]}


class _Gathered:
    """What the first pass over a hub adds up."""

    def __init__(self, backbone: Backbone, settings: AverageSettings) -> None:
        self.backbone, self.settings = backbone, settings
        self.sums: dict[str, ProjectionSum] = {}
        self.facts: list[dict[str, Any]] = []
        self._distinct = Distinct(backbone)

    def add(self, adapter: Adapter) -> str | None:
        """Add an adapter, or return why it has no say."""
        weight = weight_for(adapter.name, self.settings.weights_of)
        if weight == 0:
            return "its weight is 0"
        reason = self._distinct.reason_against(adapter)
        if reason is not None:
            return reason
        for name, update in projections(adapter.updates):
            if name not in self.sums:
                sees = self.settings.ridge is not None
                self.sums[name] = ProjectionSum.empty(update.shape, sees)
            self.sums[name].add(update, weight)
        self.facts.append({**_facts(adapter, self.backbone), "weight": weight})
        return None

    def cut(self) -> tuple[dict[str, LowRank], dict[str, dict[str, float]]]:
        """Return the direction by module, and facts by projection."""
        grouped: dict[str, dict[str, LowRank]] = {}
        facts: dict[str, dict[str, float]] = {}
        for name in sorted(self.sums, key=_module_order):
            update, energy = self.sums[name].cut(self.settings.rank, self.settings.ridge)
            norm = math.sqrt(update.squared_norm())
            facts[name] = {"rank": update.rank, "norm": norm, "energy_kept": energy}
            module, _, part = name.partition(":")
            grouped.setdefault(module, {})[part] = update
        return {module: joined(parts) for module, parts in grouped.items()}, facts


def _facts(adapter: Adapter, backbone: Backbone) -> dict[str, Any]:
    way = len(adapter.head.weight) if adapter.head is not None else len(adapter.classes)
    return {
        "name": adapter.name,
        "sha256": adapter.sha256,
        "base": adapter.base,
        "base_verified": adapter.backbone_sha256 == backbone.sha256,
        "method": adapter.method,
        "classes": list(adapter.classes),
        "way": way or None,
        "rank": max(update.rank for _, update in projections(adapter.updates)),
        "has_head": adapter.head is not None,
        "notes": list(adapter.notes),
    }


def _refuse_nothing(hub: Path, gathered: _Gathered, skipped: dict[str, str]) -> None:
    if gathered.facts:
        return
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
    raise AdapterError(
        f"{hub}: none of its {len(skipped)} adapters can be used: {reasons}",
        fix="mend them, give adapters that were tuned, or give another hub or backbone",
    )


def _refuse_cancelled(hub: Path, gathered: _Gathered, compared: Comparison) -> None:
    terms = sum(f["weight"] * n for f, n in zip(gathered.facts, compared.own, strict=True))
    if compared.norm <= LEAST_LEFT * terms:
        raise AdapterError(
            f"{hub}: its {len(gathered.facts)} adapters cancel each other, so nothing is left",
            fix="leave one of two opposite adapters out, with --weights-of NAME=0",
        )


def _own_norm(compared: Comparison) -> float | None:
    """Return the norm of a single adapter, which the rule does not exceed."""
    return compared.own[0] if len(compared.own) == 1 else None


def _groups(facts: list[dict[str, Any]], groups: list[list[int]] | None) -> list[Any] | None:
    """Return each group's adapters and some of the classes that they know."""
    if groups is None:
        return None
    return [
        {
            "adapters": [facts[index]["name"] for index in group],
            "classes": sorted({name for index in group for name in facts[index]["classes"]})[:20],
        }
        for group in groups
    ]


def _module_order(name: str) -> tuple[int, str]:
    return int(name.split(".")[1]), name


def _total_energy(modules: dict[str, dict[str, float]]) -> float:
    squares = {name: fact["norm"] ** 2 for name, fact in modules.items()}
    kept = sum(squares[name] * fact["energy_kept"] for name, fact in modules.items())
    return kept / max(sum(squares.values()), 1e-30)
