"""The report of `build --method recycle`: facts as JSON values, and a contact sheet of the pool.

`write_page`, which turns them into one readable page, is in `report_page`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.recycle.pipeline import RecycleResult
from vision_edge.toolkit.recycle.report.page import write_page
from vision_edge.toolkit.recycle.settings import RecycleSettings

__all__ = ["contact_sheet", "recycle_report", "write_page"]

POOL_FACTS = ("agreement", "cross_entropy", "prior")
GAP, HEADER, FOOTER = 6, 20, 16
"""Pixels of the contact sheet: between images, for an adapter's name, for a class's name."""
PAPER, INK, FAINT = (36, 32, 30), (235, 235, 235), (175, 170, 165)  # BGR
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.38


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
    average, subspace = result.average.report, result.subspace
    return {
        "products": {key: average[key] for key in ("mean_norm", "energy_kept")},
        "subspace": {
            key: getattr(subspace, key) for key in ("agreement", "signal", "norm", "energy_kept")
        },
    }


def _energy_kept(result: RecycleResult, start: str) -> float | None:
    """Return the share of its energy that the start of meta-learning kept at its rank."""
    if start == "subspace":
        return result.subspace.energy_kept
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


def contact_sheet(
    parts: Sequence[PoolPart], columns: int = 5, rows: int = 12, side: int = 96
) -> Image:
    """Show a pool's synthetic images: one row an adapter, the first image of each class.

    Args:
        parts: The pool.
        columns: Classes of an adapter at most; of more, some spread over all of them.
        rows: Adapters at most, likewise.
        side: Side of an image in pixels.

    Returns:
        uint8 (H, W, 3), BGR. Names are drawn as far as they are known and fit, in ASCII.
    """
    strips = [_strip(parts[index], columns, side) for index in _spread(len(parts), rows)]
    width = max((strip.shape[1] for strip in strips), default=side)
    padded = [_bordered(strip, (0, 0, 0, width - strip.shape[1])) for strip in strips]
    sheet = np.concatenate(padded) if padded else _paper(side, side)
    return _bordered(sheet, (GAP, GAP, 2 * GAP, GAP))


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` indices, evenly spread."""
    return [round(float(index)) for index in np.linspace(0, count - 1, min(count, most))]


def _strip(part: PoolPart, columns: int, side: int) -> Image:
    """Draw an adapter's name over the first image of each of its classes."""
    chosen = _spread(part.way, columns)
    cells = [_cell(_first(part, label), _class_name(part, label), side) for label in chosen]
    row = np.concatenate(cells, axis=1) if cells else _paper(side, side)
    header = _paper(HEADER, row.shape[1])
    _write(header, part.name, HEADER - 6, INK)
    return np.concatenate([header, row, _paper(GAP, row.shape[1])])


def _first(part: PoolPart, label: int) -> Image | None:
    rows = np.flatnonzero(part.labels == label)[:1]
    return part.images(rows)[0] if len(rows) else None


def _class_name(part: PoolPart, label: int) -> str:
    return part.classes[label] if label < len(part.classes) else ""


def _cell(image: Image | None, name: str, side: int) -> Image:
    """Draw an image, where there is one, over its class's name."""
    cell = _paper(side + FOOTER, side + GAP)
    if image is not None:
        method = cv2.INTER_AREA if max(image.shape[:2]) > side else cv2.INTER_CUBIC
        cell[:side, :side] = cv2.resize(image, (side, side), interpolation=method)
    _write(cell, name, side + FOOTER - 4, FAINT)
    return cell


def _write(image: Image, text: str, baseline: int, colour: tuple[int, int, int]) -> None:
    """Draw as much of a text as fits into an image's width."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = "".join(c if " " <= c <= "~" else "?" for c in plain)
    while plain and cv2.getTextSize(plain, FONT, FONT_SCALE, 1)[0][0] > image.shape[1] - GAP:
        plain = plain.rstrip(".")[:-1] + ".." if len(plain.rstrip(".")) > 1 else ""
    cv2.putText(image, plain, (0, baseline), FONT, FONT_SCALE, colour, 1, cv2.LINE_AA)


def _paper(height: int, width: int) -> Image:
    return np.full((height, width, 3), PAPER, np.uint8)


def _bordered(image: Image, sides: tuple[int, int, int, int]) -> Image:
    """Add paper above, below, left and right."""
    whole = cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=PAPER)
    return whole.astype(np.uint8, copy=False)
