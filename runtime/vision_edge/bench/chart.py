"""The picture of a benchmark: latency with its tail, and throughput, over batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vision_edge.bench.drawing import Box, Dot, Drawing, Line, Shape, Words

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
"""Told apart by colour-blind eyes as well (Okabe and Ito 2008)."""

_GRID, _AXIS, _QUIET = "#E3E3E3", "#8A8A8A", "#666666"
_WIDTH, _PANEL, _TOP, _LEGEND_ROW = 900.0, 240.0, 64.0, 20.0


@dataclass(frozen=True)
class _Panel:
    """Where a panel lies, and the scale of its vertical axis."""

    left: float
    right: float
    top: float
    bottom: float
    low: float
    high: float
    log: bool

    def y(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = (at - low) / ((high - low) or 1.0)
        return self.bottom - share * (self.bottom - self.top)


def chart(results: Sequence[dict[str, Any]], title: str) -> Drawing:
    """Draw the rows of a report.

    Args:
        results: As `report.rows` returns them, at least one.
        title: Its heading, such as the machine and the date.
    """
    series = _series(results)
    batches = sorted({result["batch"] for result in results})
    top = _TOP + _LEGEND_ROW * math.ceil(len(series) / 2)
    bottom = top + _PANEL
    shapes: list[Shape] = [Words(24, 30, title, size=15, bold=True), *_legend(series)]
    shapes += _latency(results, series, batches, top + 24, bottom)
    shapes += _throughput(results, series, batches, top + 24, bottom)
    return Drawing(_WIDTH, bottom + 56, title, shapes)


def _series(results: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """Return the colour of each model on each provider."""
    keys = dict.fromkeys(_key(result) for result in results)
    return {key: COLOURS[index % len(COLOURS)] for index, key in enumerate(keys)}


def _key(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["model"], result["provider"], result["bundle"]


def _legend(series: dict[tuple[str, str, str], str]) -> list[Shape]:
    shapes: list[Shape] = []
    for index, ((model, provider, _), colour) in enumerate(series.items()):
        x, y = 24 + (index % 2) * 430, 52 + (index // 2) * _LEGEND_ROW
        shapes += [Box(x, y - 9, 14, 10, colour), Words(x + 20, y, f"{model}, {provider}")]
    return shapes


def _latency(
    results: Sequence[dict[str, Any]],
    series: dict[tuple[str, str, str], str],
    batches: Sequence[int],
    top: float,
    bottom: float,
) -> list[Shape]:
    """Draw the median as a dot, up to the 95th percentile as a line, the 99th as a tick."""
    values = [result[key] for result in results for key in ("p50_ms", "p99_ms")]
    marks = log_marks(min(values), max(values))
    panel = _Panel(78, 430, top, bottom, marks[0], marks[-1], log=True)
    title = "ms a call: median, line to p95, tick at p99 (log)"
    shapes = _axes(panel, title, marks, batches)
    for result in results:
        x, colour = _place(panel, result, series, batches), series[_key(result)]
        y50, y95, y99 = (panel.y(result[key]) for key in ("p50_ms", "p95_ms", "p99_ms"))
        shapes += [
            Line(x, y50, x, y95, colour, 3),
            Line(x - 5, y99, x + 5, y99, colour, 1.5),
            Dot(x, y50, 4.5, colour),
            Words(x, y50 + 18, number(result["p50_ms"]), "middle", 10, colour=_QUIET),
        ]
    return shapes


def _throughput(
    results: Sequence[dict[str, Any]],
    series: dict[tuple[str, str, str], str],
    batches: Sequence[int],
    top: float,
    bottom: float,
) -> list[Shape]:
    marks = linear_marks(max(result["images_per_second"] for result in results))
    panel = _Panel(520, 876, top, bottom, 0.0, marks[-1], log=False)
    shapes = _axes(panel, "images a second", marks, batches)
    width = min(34.0, 0.8 * _slot(panel, batches) / len(series))
    for result in results:
        x, value = _place(panel, result, series, batches), result["images_per_second"]
        y = panel.y(value)
        shapes += [
            Box(x - width / 2, y, width, bottom - y, series[_key(result)]),
            Words(x, y - 5, number(value), "middle", 10, colour=_QUIET),
        ]
    return shapes


def _slot(panel: _Panel, batches: Sequence[int]) -> float:
    return (panel.right - panel.left) / len(batches)


def _place(
    panel: _Panel,
    result: dict[str, Any],
    series: dict[tuple[str, str, str], str],
    batches: Sequence[int],
) -> float:
    """Return where a case stands: beside its rivals, above its batch size."""
    slot = _slot(panel, batches)
    step = min(38.0, 0.8 * slot / len(series))
    middle = panel.left + slot * (batches.index(result["batch"]) + 0.5)
    return middle + step * (list(series).index(_key(result)) - (len(series) - 1) / 2)


def _axes(panel: _Panel, title: str, marks: Sequence[float], batches: Sequence[int]) -> list[Shape]:
    shapes: list[Shape] = [Words(panel.left, panel.top - 12, title, size=12, colour=_QUIET)]
    for mark in marks:
        y = panel.y(mark)
        shapes += [
            Line(panel.left, y, panel.right, y, _GRID),
            Words(panel.left - 8, y + 4, number(mark), "end", 11, colour=_QUIET),
        ]
    shapes.append(Line(panel.left, panel.bottom, panel.right, panel.bottom, _AXIS))
    slot = _slot(panel, batches)
    for index, batch in enumerate(batches):
        x = panel.left + slot * (index + 0.5)
        shapes.append(Words(x, panel.bottom + 20, f"batch {batch}", "middle", 12))
    return shapes


def log_marks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from below a range to above it."""
    steps = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
    ]
    below = max(step for step in steps if step <= 0.75 * low)
    above = min((step for step in steps if step >= high), default=steps[-1])
    return [step for step in steps if below <= step <= above]


def linear_marks(high: float) -> list[float]:
    """Return 0 and about five round values up to above `high`, with room for a label."""
    rough = 1.08 * high / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * nice for nice in (1, 2, 2.5, 5, 10) if size * nice >= rough)
    return [step * index for index in range(math.ceil(1.08 * high / step) + 1)]


def number(value: float) -> str:
    """Return a value with three digits that count, as few as it takes."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
