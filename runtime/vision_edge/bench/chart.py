"""The picture of a benchmark: latency with its tail, and throughput, over batch sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vision_edge.runtime.reports.charts import Panel, series_kind
from vision_edge.runtime.reports.drawing import Drawing
from vision_edge.runtime.reports.numbers import brief
from vision_edge.runtime.reports.scales import Scale, linear_ticks, log_ticks

_WIDTH, _PANEL, _TOP, _LEGEND_ROW = 900.0, 240.0, 64.0, 20.0
_HEADROOM = 1.08
"""Room above the highest bar for its number."""
Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Groups:
    """What stands beside what: series side by side, above their batch size.

    Attributes:
        kinds: The kind of shape of each series, in order.
        batches: Batch sizes, from left to right.
    """

    kinds: Mapping[Key, str]
    batches: Sequence[int]

    def slot(self, panel: Panel) -> float:
        return (panel.x.end - panel.x.start) / len(self.batches)

    def place(self, panel: Panel, result: dict[str, Any]) -> float:
        """Return where a case stands in a panel."""
        slot = self.slot(panel)
        step = min(38.0, 0.8 * slot / len(self.kinds))
        middle = panel.x.start + slot * (self.batches.index(result["batch"]) + 0.5)
        return middle + step * (list(self.kinds).index(_key(result)) - (len(self.kinds) - 1) / 2)


def chart(results: Sequence[dict[str, Any]], title: str) -> Drawing:
    """Draw the rows of a report.

    Args:
        results: As `report.rows` returns them, at least one.
        title: Its heading, such as the machine and the date.
    """
    keys = dict.fromkeys(_key(result) for result in results)
    kinds = {key: series_kind(index) for index, key in enumerate(keys)}
    groups = _Groups(kinds, sorted({result["batch"] for result in results}))
    top = _TOP + _LEGEND_ROW * math.ceil(len(kinds) / 2)
    bottom = top + _PANEL
    drawing = Drawing(_WIDTH, bottom + 56, title)
    drawing.words(24, 30, title, "heading")
    _legend(drawing, kinds)
    _latency(drawing, results, groups, Scale(0, 1, bottom, top + 24))
    _throughput(drawing, results, groups, Scale(0, 1, bottom, top + 24))
    return drawing


def _key(result: dict[str, Any]) -> Key:
    return result["model"], result["provider"], result["bundle"]


def _legend(drawing: Drawing, kinds: Mapping[Key, str]) -> None:
    for index, ((model, provider, _), kind) in enumerate(kinds.items()):
        x, y = 24 + (index % 2) * 430, 52 + (index // 2) * _LEGEND_ROW
        drawing.box(x, y - 9, 14, 10, kind)
        drawing.words(x + 20, y, f"{model}, {provider}", "name")


def _latency(
    drawing: Drawing, results: Sequence[dict[str, Any]], groups: _Groups, height: Scale
) -> None:
    """Draw the median as a dot, up to the 95th percentile as a line, the 99th as a tick."""
    values = [result[key] for result in results for key in ("p50_ms", "p99_ms")]
    ticks = log_ticks(min(values), max(values))
    y = Scale(ticks[0], ticks[-1], height.start, height.end, log=True)
    panel = Panel(drawing, Scale(0, 1, 78, 430), y)
    _axes(panel, "ms a call: median, line to p95, tick at p99 (log)", ticks, groups)
    for result in results:
        x, kind = groups.place(panel, result), groups.kinds[_key(result)]
        y50, y95, y99 = (y.at(result[key]) for key in ("p50_ms", "p95_ms", "p99_ms"))
        drawing.line(x, y50, x, y95, f"thick {kind}")
        drawing.line(x - 5, y99, x + 5, y99, kind)
        drawing.dot(x, y50, 4.5, kind)
    for result in results:
        below = y.at(result["p50_ms"]) + 18
        drawing.words(
            groups.place(panel, result), below, brief(result["p50_ms"]), "small", "middle"
        )


def _throughput(
    drawing: Drawing, results: Sequence[dict[str, Any]], groups: _Groups, height: Scale
) -> None:
    ticks = linear_ticks(0.0, _HEADROOM * max(result["images_per_second"] for result in results))
    y = Scale(0.0, ticks[-1], height.start, height.end)
    panel = Panel(drawing, Scale(0, 1, 520, 876), y)
    _axes(panel, "images a second", ticks, groups)
    width = min(34.0, 0.8 * groups.slot(panel) / len(groups.kinds))
    for result in results:
        x, value = groups.place(panel, result), result["images_per_second"]
        top = y.at(value)
        drawing.box(x - width / 2, top, width, y.start - top, groups.kinds[_key(result)])
    for result in results:
        value = result["images_per_second"]
        drawing.words(groups.place(panel, result), y.at(value) - 5, brief(value), "small", "middle")


def _axes(panel: Panel, title: str, ticks: Sequence[float], groups: _Groups) -> None:
    drawing, x, y = panel.drawing, panel.x, panel.y
    drawing.words(x.start, y.end - 12, title)
    for tick in ticks:
        panel.level(tick, brief(tick))
    drawing.line(x.start, y.start, x.end, y.start, "axis")
    slot = groups.slot(panel)
    for index, batch in enumerate(groups.batches):
        panel.below(x.start + slot * (index + 0.5), f"batch {batch}")
