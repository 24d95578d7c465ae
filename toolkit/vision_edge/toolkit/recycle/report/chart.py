"""Line charts of the report's page, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vision_edge.toolkit.recycle.report.html import Html, join, number, places, tag


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What the legend says.
        points: (x, y) of each.
        faint: Whether it stays in the background.
    """

    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


@dataclass(frozen=True)
class _Frame:
    """Where a chart's values lie on its 440 x 260 units."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 62
    right: float = 426
    top: float = 34
    bottom: float = 212

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            self.left + across * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )


def line_chart(
    title: str, unit: str, lines: Sequence[Line], chosen: tuple[float, float] | None
) -> Html:
    """Draw lines over steps.

    Args:
        title: What it shows, for those who cannot see it.
        unit: Label of the vertical axis.
        lines: The lines; one without points is left out.
        chosen: The point that is marked, if any.
    """
    drawn = [line for line in lines if line.points]
    frame, marks = _framed([point for line in drawn for point in line.points] or [(0.0, 0.0)])
    return tag(
        "svg",
        tag("title", title),
        _axes(frame, unit, marks),
        *(_line(frame, line) for line in drawn),
        _chosen(frame, chosen) if chosen else "",
        _legend(drawn),
        viewBox="0 0 440 260",
        role="img",
        aria_label=title,
        class_="chart",
    )


def _framed(points: Sequence[tuple[float, float]]) -> tuple[_Frame, list[float]]:
    """Return a frame around points, and the values at its horizontal lines."""
    xs, ys = zip(*points, strict=True)
    marks = ticks(min(ys), max(ys))
    return _Frame((min(xs), max(xs)), (marks[0], marks[-1])), marks


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round values that lie in a range or just outside of it."""
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    size = 10.0 ** math.floor(math.log10(span / count))
    step = next(size * nice for nice in (1, 2, 5, 10) if size * nice >= span / count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


def _axes(frame: _Frame, unit: str, marks: Sequence[float]) -> Html:
    middle = (frame.top + frame.bottom) / 2
    digits = max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))
    steps = sorted({round(x) for x in ticks(*frame.x) if frame.x[0] <= x <= frame.x[1]})
    return join(
        *(_mark(frame, value, number(value, digits)) for value in marks),
        *(_step(frame, value) for value in steps),
        tag("text", "step", x=places((frame.left + frame.right) / 2), y=252, text_anchor="middle"),
        tag(
            "text", unit, transform=f"translate(14 {middle:.0f}) rotate(-90)", text_anchor="middle"
        ),
    )


def _mark(frame: _Frame, value: float, text: str) -> Html:
    _, y = frame.at(frame.x[0], value)
    return join(
        tag("line", x1=frame.left, x2=frame.right, y1=places(y), y2=places(y), class_="grid"),
        tag("text", text, x=frame.left - 8, y=places(y + 4), text_anchor="end"),
    )


def _step(frame: _Frame, value: float) -> Html:
    x, _ = frame.at(value, frame.y[0])
    return tag("text", str(value), x=places(x), y=frame.bottom + 19, text_anchor="middle")


def _line(frame: _Frame, line: Line) -> Html:
    spots = [frame.at(x, y) for x, y in line.points]
    kind = "line faint" if line.faint else "line"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    dots = [tag("circle", cx=places(x), cy=places(y), r=2.5) for x, y in spots]
    return join(tag("polyline", points=path, class_=kind), *([] if line.faint else dots))


def _chosen(frame: _Frame, point: tuple[float, float]) -> Html:
    x, y = frame.at(*point)
    late, low = x > (frame.left + frame.right) / 2, y > (frame.top + frame.bottom) / 2
    return join(
        tag("line", x1=places(x), x2=places(x), y1=frame.top, y2=frame.bottom, class_="chosen"),
        tag("circle", cx=places(x), cy=places(y), r=6, class_="ring"),
        tag(
            "text",
            f"step {point[0]:g} kept",
            x=places(x - 8 if late else x + 8),
            y=frame.top + 14 if low else frame.bottom - 8,
            text_anchor="end" if late else "start",
            class_="strong",
        ),
    )


def _legend(lines: Sequence[Line]) -> Html:
    pieces: list[str] = []
    for index, line in enumerate(lines):
        x = 62 + 150 * index
        kind = "line faint" if line.faint else "line"
        pieces += [
            tag("line", x1=x, x2=x + 22, y1=14, y2=14, class_=kind),
            tag("text", line.name, x=x + 29, y=18),
        ]
    return join(*pieces)
