"""The report of `build --method recycle`: facts as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.recycle.pipeline import RecycleResult
from vision_edge.toolkit.recycle.settings import RecycleSettings

POOL_FACTS = ("agreement", "cross_entropy", "prior")


def recycle_report(
    result: RecycleResult,
    settings: RecycleSettings,
    backbone: Backbone,
    hub: str,
    tables: Sequence[dict[str, Any]] | None,
) -> dict[str, Any]:
    """Gather what is known about a recycled hub.

    Args:
        result: What the pipeline gave.
        settings: What it was asked for.
        backbone: What the adapters belong to.
        hub: The hub's name.
        tables: Accuracies as `evaluate.to_document` makes them: the plain backbone first, the
            meta-LoRA as `recycled`. Those on `synthetic tasks held out` are told from real ones.

    Returns:
        JSON values only. What is not finite is null, and text that is no UTF-8 is escaped.
    """
    report: dict[str, Any] = _json(
        {
            "method": "recycle",
            "hub": hub,
            "settings": settings.document(),
            "backbone": backbone.info().model_dump(),
            **_hub_facts(result),
            **_learning_facts(result, settings.start),
            "evaluations": list(tables or ()),
        }
    )
    return report


def _hub_facts(result: RecycleResult) -> dict[str, Any]:
    average = result.average.report
    return {
        "adapters": _adapters(average, result.parts),
        "skipped": average["skipped"],
        "hub_notes": average["hub_notes"],
        "groups": average["groups"],
        "warnings": result.subspace.report["warnings"],
        "counsel": result.subspace.report["counsel"],
        "pool": _pool(average["adapters"], result.parts),
        "averages": _averages(result),
    }


def _learning_facts(result: RecycleResult, start: str) -> dict[str, Any]:
    return {
        "energy_kept": _energy_kept(result, start),
        "step": result.meta.step,
        "curves": result.meta.curves,
        "stages": result.stages,
    }


def _adapters(average: Mapping[str, Any], parts: Sequence[PoolPart]) -> list[dict[str, Any]]:
    """Add to each adapter's facts its share in the mean, and those of its synthetic images."""
    found = {(part.name, part.sha256): part for part in parts}
    total = average["mean_norm"] * len(average["adapters"])
    return [
        {
            **fact,
            "share": fact["cosine_to_mean"] * fact["norm"] / total if total > 0 else None,
            **_pool_facts(found.get((fact["name"], fact["sha256"]))),
        }
        for fact in average["adapters"]
    ]


def _pool_facts(part: PoolPart | None) -> dict[str, Any]:
    facts = part.facts if part else {}
    images = len(part.labels) if part else 0
    return {"images": images, **{key: facts.get(key) for key in POOL_FACTS}}


def _pool(adapters: Sequence[Mapping[str, Any]], parts: Sequence[PoolPart]) -> dict[str, Any]:
    """Return what the pool holds; one made earlier may have parts that are not of this hub."""
    own = {(fact["name"], fact["sha256"]) for fact in adapters}
    return {
        "adapters": len(parts),
        "classes": sum(part.way for part in parts),
        "images": sum(len(part.labels) for part in parts),
        "not_of_hub": [part.name for part in parts if (part.name, part.sha256) not in own],
    }


def _averages(result: RecycleResult) -> dict[str, Any]:
    reports = {"products": result.average.report, "subspace": result.subspace.report}
    keys = ("mean_norm", "agreement", "size", "energy_kept")
    return {name: {key: report[key] for key in keys} for name, report in reports.items()}


def _energy_kept(result: RecycleResult, start: str) -> float | None:
    """Return the share of its energy that the start of meta-learning kept at its rank."""
    if start == "subspace":
        return float(result.subspace.report["energy_kept"])
    return float(result.average.report["energy_kept"]) if start == "average" else None


def _json(value: Any) -> Any:
    """Return a value as what JSON can hold and a UTF-8 file can keep."""
    if isinstance(value, Mapping):
        return {_json(str(key)): _json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(entry) for entry in value]
    if isinstance(value, np.generic):
        return _json(value.item())
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value
