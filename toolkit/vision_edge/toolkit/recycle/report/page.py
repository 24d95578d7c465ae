"""The page of a recycling report: what `recycle.html` shows, from the report's facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_edge.runtime.reports.charts import Line, line_chart
from vision_edge.runtime.reports.drawing import Drawing
from vision_edge.runtime.reports.numbers import NONE, duration, number
from vision_edge.runtime.reports.pages import picture_source
from vision_edge.runtime.reports.pages import write_page as write_report_page
from vision_edge.toolkit.evaluation.evaluate import chart as accuracy_chart
from vision_edge.toolkit.recycle.report.words import (
    SYNTHETIC,
    Facts,
    clear,
    contest,
    energy,
    kept,
    summary,
    task,
    total_seconds,
)

TEMPLATE = Path(__file__).parent / "templates/recycle.html"


def write_page(path: Path, report: dict[str, Any], sheet_png: bytes) -> None:
    """Write a report as one self-contained HTML page, whole or not at all.

    Args:
        path: The page's file.
        report: What `recycle_report` gave; `created`, `seed` and `seconds` are shown where there.
        sheet_png: The contact sheet as PNG.
    """
    when = f", {report['created']}" if report.get("created") else ""
    adapters, stages = report["adapters"], report["stages"]
    write_report_page(
        path,
        TEMPLATE,
        title=f"Recycled meta-LoRA of {report['hub']}",
        made=f"vision-edge build --method recycle{when}",
        summary=summary(report),
        tiles=[*_score_tiles(_ordered(report)), *_work_tiles(report)],
        accuracies=[_accuracy(document) for document in _ordered(report)],
        learned=f"{kept(report)} {energy(report)}",
        charts=list(_charts(report["curves"], report["step"])),
        curves=report["curves"],
        adapters=adapters,
        flagged=[fact["name"] for fact in adapters if fact["outlier"]],
        tops=_tops(adapters, ("norm", "cosine_to_rest", "share"))
        | _tops(stages.values(), ("seconds",)),
        pool=report["pool"],
        skipped=list(report["skipped"].items()),
        stages=list(stages.items()),
        settings=list(_settings(report)),
        backbone=report["backbone"],
        sheet=picture_source(sheet_png),
    )


def _ordered(report: Facts) -> list[Facts]:
    """Return the tables, those on real images first."""
    return sorted(report["evaluations"], key=lambda document: document["data"] == SYNTHETIC)


def _tops(facts: Any, keys: Sequence[str]) -> dict[str, float]:
    """Return the largest value of each key, for the bars."""
    known = {key: [fact[key] for fact in facts if fact[key] is not None] for key in keys}
    return {key: max(values, default=0.0) for key, values in known.items()}


def _score_tiles(tables: Sequence[Facts]) -> Iterator[tuple[str, str, str]]:
    for document in tables[:1]:
        own, backbone, _ = contest(document["results"])
        if own is not None:
            yield "Accuracy", number(own["accuracy"], unit="%"), str(document["data"])
        if own is not None and backbone is not None:
            gain = number(own["accuracy"] - backbone["accuracy"], sign=True)
            sure = "" if clear(own, backbone) else ", within the error"
            yield "Gain, in points", gain, f"over the plain backbone{sure}"


def _work_tiles(report: Facts) -> Iterator[tuple[str, str, str]]:
    out, flagged = len(report["skipped"]), sum(bool(f["outlier"]) for f in report["adapters"])
    yield "Adapters", str(len(report["adapters"])), f"{out} left out, {flagged} flagged"
    yield "Time", duration(total_seconds(report)), "in all"


def _accuracy(document: Facts) -> dict[str, Any]:
    """Return a table of accuracies: its rows, and the same as a chart where all is known."""
    results = document["results"]
    known = [result["accuracy"] for result in results if result["accuracy"] is not None]
    best = max(known, default=None)
    first = results[0]["accuracy"]
    rows = [
        {
            **result,
            "best": result["accuracy"] == best and known.count(best) == 1,
            "gain": None
            if index == 0 or first is None or result["accuracy"] is None
            else result["accuracy"] - first,
        }
        for index, result in enumerate(results)
    ]
    whole = all(None not in (result["accuracy"], result["ci95"]) for result in results)
    return {
        "caption": f"Accuracy in % on {task(document)}, with the 95 % interval. The highest is "
        "marked; differences are to the first row.",
        "rows": rows,
        "chart": accuracy_chart(document) if whole else None,
        "synthetic": document["data"] == SYNTHETIC,
    }


def _charts(curves: Sequence[Facts], step: int) -> Iterator[tuple[str, Drawing]]:
    loss = [_line("held out", curves, "held_out_loss"), _line("training", curves, "loss", True)]
    yield _chart("Loss on synthetic tasks, by step", "loss", loss, step)
    accuracy = [_line("held out", curves, "held_out_accuracy")]
    yield _chart("Accuracy on synthetic tasks, by step", "accuracy in %", accuracy, step)


def _line(name: str, curves: Sequence[Facts], key: str, faint: bool = False) -> Line:
    return Line(name, [(r["step"], r[key]) for r in curves if r[key] is not None], faint)


def _chart(title: str, unit: str, lines: Sequence[Line], step: int) -> tuple[str, Drawing]:
    kept_point = next((point for point in lines[0].points if point[0] == step), None)
    return title, line_chart(title, unit, lines, marked=kept_point, mark=f"step {step} kept")


def _settings(report: Facts) -> Iterator[tuple[str, str]]:
    given = {"seed": report["seed"]} if "seed" in report else {}
    for name, value in _flat({**given, **report["settings"]}):
        yield name, NONE if value is None or value == "" else str(value)


def _flat(values: Facts, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings with the names of their groups before their own."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
