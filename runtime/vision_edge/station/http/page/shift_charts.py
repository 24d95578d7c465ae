"""The charts of a shift: values over the hours of a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vision_edge.runtime.reports.charts import Panel
from vision_edge.runtime.reports.drawing import Drawing
from vision_edge.runtime.reports.numbers import number
from vision_edge.runtime.reports.scales import Scale, decimals, linear_ticks
from vision_edge.station.core.shift_report import ShiftReport, Tally

WIDTH, HEIGHT = 640.0, 260.0
_LETTER = 7.6
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080)
"""Minutes between two times that are written below a chart."""
_DAY = 86400


@dataclass(frozen=True)
class Curve:
    """Values over time.

    Attributes:
        name: What the legend says.
        kind: What it looks like; a class of `chart.css`.
        points: (seconds since 1970, value), in order; None where there is no value.
    """

    name: str
    kind: str
    points: Sequence[tuple[float, float | None]]


def time_chart(
    title: str, unit: str, curves: Sequence[Curve], span: tuple[float, float], top: float = 0.0
) -> Drawing:
    """Draw values over time; times are of this machine's clock.

    Args:
        title: What it shows, for those who cannot see it.
        unit: Label of the vertical axis.
        curves: The values, at least 0.
        span: From when to when, in seconds since 1970.
        top: A value that the vertical axis holds in any case.
    """
    drawing = Drawing(WIDTH, HEIGHT, title)
    values = [value for curve in curves for _, value in curve.points if value is not None]
    ticks = linear_ticks(0.0, max([top, *values]) or 1.0)
    x = Scale(span[0], span[1], 62, WIDTH - 18)
    panel = Panel(drawing, x, Scale(ticks[0], ticks[-1], HEIGHT - 34, 34))
    for value in ticks:
        panel.level(value, number(value, decimals(ticks)))
    drawing.words(14, (panel.y.start + panel.y.end) / 2, unit, anchor="middle", upwards=True)
    for at, said in _times(span):
        panel.below(x.at(at), said)
    left = 62.0
    for curve in curves:
        _curve(panel, curve)
        drawing.path([(left, 14), (left + 22, 14)], f"thick {curve.kind}")
        drawing.words(left + 29, 18, curve.name)
        left += 48 + _LETTER * len(curve.name)
    return drawing


def _curve(panel: Panel, curve: Curve) -> None:
    """Draw one curve, broken where there is no value."""
    run: list[tuple[float, float]] = []
    for at, value in [*curve.points, (0.0, None)]:
        if value is not None:
            run.append((panel.x.at(at), panel.y.at(value)))
            continue
        if len(run) > 1:
            panel.drawing.path(run, f"thick {curve.kind}")
        elif run:
            panel.drawing.dot(*run[0], 3, curve.kind)
        run = []


def _times(span: tuple[float, float], most: int = 7) -> list[tuple[float, str]]:
    """Return the times that are written below, with their words."""
    minutes = (span[1] - span[0]) / 60
    step = next((s for s in _STEPS if minutes / s <= most), _STEPS[-1])
    offset = datetime.fromtimestamp(span[0]).astimezone().utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    first = -(-(span[0] + shift) // (60 * step)) * 60 * step - shift
    form = "%H:%M" if step < 1440 else "%d.%m."
    count = int((span[1] - first) // (60 * step)) + 1
    times = [first + 60 * step * k for k in range(max(0, count))]
    return [(at, datetime.fromtimestamp(at).strftime(form)) for at in times]


def shift_charts(report: ShiftReport, words: Mapping[str, str]) -> dict[str, Drawing]:
    """Return the charts of a report: `counts`, `shares` and `ages`.

    Args:
        report: The report.
        words: Texts of the page.
    """
    span = (report.span.since, report.span.until)
    steps = _with_gaps(report)

    def curve(key: str, kind: str, value: str) -> Curve:
        points = [(at, None if t is None else getattr(t, value)) for at, t in steps]
        return Curve(words[key], kind, points)

    def share(band: str, kind: str) -> Curve:
        points = [(at, _percent(None if t is None else t.share(band))) for at, t in steps]
        return Curve(words[f"shift.{band}"], kind, points)

    counts = Curve(
        words["shift.verdicts"], "s0",
        [(at, float(t.judged) if t else 0.0) for at, t in steps],
    )  # fmt: skip
    unit = words["shift.per-step"].format_map({"n": report.step})
    return {
        "counts": time_chart(words["shift.counts"], unit, [counts], span),
        "shares": time_chart(
            words["shift.shares"], "%",
            [share("accept", "s2"), share("review", "s4"), share("unknown", "s1")], span, 100.0,
        ),
        "ages": time_chart(
            words["shift.ages"], "ms",
            [curve("shift.age-mean", "s0", "age_ms"), curve("shift.age-most", "s3", "age_ms_most")],
            span,
        ),
    }  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _with_gaps(report: ShiftReport) -> list[tuple[float, Tally | None]]:
    """Return every step of the span by its middle, with None where there was no verdict."""
    first, end = report.span.minutes
    return [
        (60 * (minute + report.step / 2), report.steps.get(60 * minute))
        for minute in range(first, end, report.step)
    ]
