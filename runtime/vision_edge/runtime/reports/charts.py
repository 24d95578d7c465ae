"""The charts: lines over steps, and values with their intervals.

A chart of another form is drawn on a `Panel`, as `bench` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vision_edge.runtime.reports.drawing import SERIES, Drawing
from vision_edge.runtime.reports.numbers import number
from vision_edge.runtime.reports.scales import Scale, decimals, linear_ticks

_WIDTH, _HEIGHT = 440.0, 260.0
_LETTER = 7.2
"""About the width of a letter of 13 px."""


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What the legend says.
        points: (x, y) of each, x rising.
        faint: Whether it stays in the background.
    """

    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


@dataclass(frozen=True)
class Interval:
    """A value of a chart that is known within an interval.

    Attributes:
        name: Whose value it is.
        value: The value.
        half: Half of its interval's width, at least 0.
    """

    name: str
    value: float
    half: float


@dataclass(frozen=True)
class Panel:
    """A part of a drawing with two axes.

    Attributes:
        drawing: What is drawn on.
        x: The scale from left to right.
        y: The scale upwards.
    """

    drawing: Drawing
    x: Scale
    y: Scale

    def level(self, value: float, said: str) -> None:
        """Draw a horizontal line of the grid, and say at its left what it stands for."""
        y = self.y.at(value)
        self.drawing.line(self.x.start, y, self.x.end, y, "grid")
        self.drawing.words(self.x.start - 8, y + 4, said, anchor="end")

    def below(self, x: float, said: str) -> None:
        """Say something below the horizontal axis, at `x` of the drawing."""
        self.drawing.words(x, self.y.start + 19, said, anchor="middle")


def series_kind(index: int) -> str:
    """Return the kind of shapes that belong to a series, counted from 0."""
    return f"s{index % SERIES}"


def line_chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    *,
    across: str = "step",
    marked: tuple[float, float] | None = None,
    mark: str = "",
    floor: float | None = None,
) -> Drawing:
    """Draw lines.

    Args:
        title: What it shows, for those who cannot see it.
        unit: Label of the vertical axis.
        lines: The lines; one without points is left out.
        across: Label of the horizontal axis, whose values are whole numbers.
        marked: The point that is marked, if any.
        mark: What is said of it.
        floor: A value that the vertical axis holds in any case, such as 0.
    """
    drawn = [line for line in lines if line.points]
    drawing = Drawing(_WIDTH, _HEIGHT, title)
    panel = _line_axes(drawing, drawn, floor)
    drawing.words(14, (panel.y.start + panel.y.end) / 2, unit, anchor="middle", upwards=True)
    drawing.words((panel.x.start + panel.x.end) / 2, _HEIGHT - 8, across, anchor="middle")
    for index, line in enumerate(drawn):
        _line(panel, line, series_kind(index))
    if marked:
        _mark(panel, marked, mark)
    _legend(drawing, drawn)
    return drawing


def _line_axes(drawing: Drawing, lines: Sequence[Line], floor: float | None) -> Panel:
    points = [point for line in lines for point in line.points] or [(0.0, 0.0)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    held = ys if floor is None else [*ys, floor]
    ticks = linear_ticks(min(held), max(held))
    x = Scale(min(xs), max(xs), 62, _WIDTH - 24)
    panel = Panel(drawing, x, Scale(ticks[0], ticks[-1], _HEIGHT - 48, 34))
    for value in ticks:
        panel.level(value, number(value, decimals(ticks)))
    for step in sorted({round(v) for v in linear_ticks(x.low, x.high) if x.low <= v <= x.high}):
        panel.below(x.at(step), str(step))
    return panel


def _line(panel: Panel, line: Line, series: str) -> None:
    spots = [(panel.x.at(x), panel.y.at(y)) for x, y in line.points]
    panel.drawing.path(spots, "faint" if line.faint else f"thick {series}")
    if not line.faint and len(spots) <= 60:
        for x, y in spots:
            panel.drawing.dot(x, y, 2.5, series)


def _mark(panel: Panel, point: tuple[float, float], said: str) -> None:
    x, y = panel.x.at(point[0]), panel.y.at(point[1])
    late = x > (panel.x.start + panel.x.end) / 2
    low = y > (panel.y.start + panel.y.end) / 2
    panel.drawing.line(x, panel.y.end, x, panel.y.start, "reference")
    panel.drawing.dot(x, y, 6, "ring")
    panel.drawing.words(
        x - 8 if late else x + 8,
        panel.y.end + 14 if low else panel.y.start - 8,
        said,
        "strong",
        "end" if late else "start",
    )


def _legend(drawing: Drawing, lines: Sequence[Line]) -> None:
    x = 62.0
    for index, line in enumerate(lines):
        kind = "faint" if line.faint else f"thick {series_kind(index)}"
        drawing.path([(x, 14), (x + 22, 14)], kind)
        drawing.words(x + 29, 18, line.name)
        x += 48 + _LETTER * len(line.name)


def interval_chart(
    title: str, unit: str, values: Sequence[Interval], *, note: str = "", digits: int = 1
) -> Drawing:
    """Draw values with their intervals in rows, beside a line through the first of them.

    Args:
        title: What it shows; the heading.
        unit: Label of the axis.
        values: The values, at least one; the first is the one that others are compared with.
        note: What else there is to say, below.
        digits: Behind the point.
    """
    row, top, width = 42.0, 46.0, 480.0
    bottom = top + row * len(values)
    drawing = Drawing(width, bottom + (64 if note else 44), title)
    ends = [v.value + sign * v.half for v in values for sign in (-1, 1)]
    ticks = linear_ticks(min(ends), max(ends))
    panel = Panel(drawing, Scale(ticks[0], ticks[-1], 24, width - 24), Scale(0, 1, bottom, top))
    drawing.words(24, 28, title, "heading")
    for tick in ticks:
        x = panel.x.at(tick)
        drawing.line(x, top, x, bottom, "grid")
        panel.below(x, number(tick, decimals(ticks)))
    first = panel.x.at(values[0].value)
    drawing.line(first, top, first, bottom, "reference")
    for index, value in enumerate(values):
        _interval(panel, value, top + row * index, index, digits)
    drawing.words(width / 2, bottom + 36, unit, "small", "middle")
    if note:
        drawing.words(width / 2, bottom + 54, note, "small", "middle")
    return drawing


def _interval(panel: Panel, value: Interval, top: float, index: int, digits: int) -> None:
    """Draw a row: whose value it is and how much above, the interval below."""
    drawing, x, kind = panel.drawing, panel.x.at(value.value), "quiet" if index == 0 else "s0"
    left, right = (panel.x.at(value.value + sign * value.half) for sign in (-1, 1))
    said = f"{number(value.value, digits)} ± {number(value.half, digits)}"
    drawing.words(panel.x.start, top + 14, value.name, "strong")
    drawing.words(panel.x.end, top + 14, said, "strong", "end")
    drawing.line(left, top + 27, right, top + 27, f"thick {kind}")
    drawing.dot(x, top + 27, 5, kind)
