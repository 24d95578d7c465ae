"""What a shift comes to: totals, steps of time, products, sources, outages and corrections.

The page, the API and the table are made of this one report, so that their numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vision_edge.station.core.counted import BANDS
from vision_edge.station.core.errors import StationError
from vision_edge.station.core.shift_statistics import ShiftStatistics, Span

MOST_STEPS = 2000
COLUMNS = ("time", "source", "product", "band", "verdicts", "age_ms", "age_ms_most")
"""Of the table: one row a step, source, product and band."""


class SpanError(StationError):
    """A stretch of time that cannot be reported."""

    code = "span"


@dataclass
class Tally:
    """How many verdicts there were, by band, and how old their frames were.

    Attributes:
        accept: Products recognised.
        review: Doubtful ones.
        unknown: Unknown ones.
        nothing: While nothing was in view.
        age_ms: Mean age of the frames, in milliseconds; None without any.
        age_ms_most: The greatest.
    """

    accept: int = 0
    review: int = 0
    unknown: int = 0
    nothing: int = 0
    age_ms: float | None = None
    age_ms_most: float | None = None

    @property
    def judged(self) -> int:
        """Verdicts on something in view."""
        return self.accept + self.review + self.unknown

    def add(self, band: str, verdicts: int, age: float, most: float) -> None:
        """Count verdicts of a band, with their mean and greatest age."""
        before = self.judged + self.nothing
        self.age_ms = ((self.age_ms or 0.0) * before + age * verdicts) / (before + verdicts)
        self.age_ms_most = max(self.age_ms_most or 0.0, most)
        setattr(self, band, getattr(self, band) + verdicts)

    def share(self, band: str) -> float | None:
        """Return which share of what was in view was of a band, 0 to 1; None without any."""
        count: int = getattr(self, band)
        return count / self.judged if self.judged else None


@dataclass
class ShiftReport:
    """A stretch of a station's time in numbers.

    Attributes:
        span: From when to when.
        step: Minutes of a step.
        total: Over all.
        steps: By start in seconds since 1970, in order; only those with verdicts.
        products: By name: recognised and doubtful ones.
        sources: By name.
        corrections: What persons put right: `given`, `band`, `right` (empty: no product), `times`.
        outages: `source`, `state`, `began`, `ended` (None: it lasts), in seconds since 1970.
        rows: The counts that it is made of.
    """

    span: Span
    step: int
    total: Tally = field(default_factory=Tally)
    steps: dict[int, Tally] = field(default_factory=dict)
    products: dict[str, Tally] = field(default_factory=dict)
    sources: dict[str, Tally] = field(default_factory=dict)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    outages: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[int, str, str, str, int, float, float]] = field(default_factory=list)

    def out_seconds(self, source: str) -> float:
        """Return for how long a source was out within the span."""
        return math.fsum(
            min(self.span.until, outage["ended"] or self.span.until)
            - max(self.span.since, outage["began"])
            for outage in self.outages
            if outage["source"] == source
        )

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "since": self.span.since,
            "until": self.span.until,
            "step_minutes": self.step,
            "total": asdict(self.total),
            "steps": [{"start": start, **asdict(tally)} for start, tally in self.steps.items()],
            "products": [
                {"label": label, "accept": tally.accept, "review": tally.review}
                for label, tally in self.products.items()
            ],
            "sources": [
                {"name": name, **asdict(tally), "out_seconds": round(self.out_seconds(name), 1)}
                for name, tally in self.sources.items()
            ],
            "corrections": self.corrections,
            "outages": self.outages,
        }

    def table(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the table; see `COLUMNS`."""
        yield from self.rows


def shift_report(statistics: ShiftStatistics, span: Span, step: int) -> ShiftReport:
    """Report a stretch of time.

    Args:
        statistics: The counts.
        span: From when to when.
        step: Minutes that are taken together.

    Raises:
        SpanError: If it ends before it begins, or has more than `MOST_STEPS` steps.
        VisionEdgeError: If the counts cannot be read.
    """
    first, end = span.minutes
    if end <= first or end - first > MOST_STEPS * step:
        raise SpanError(
            f"{end - first} minutes in steps of {step}",
            fix=f"give an end after the start, and at most {MOST_STEPS} steps",
        )
    report = ShiftReport(span, step, rows=statistics.counts(span, step))
    for start, source, label, band, verdicts, age, most in report.rows:
        if band not in BANDS:
            continue
        tallies = [report.total, report.steps.setdefault(start, Tally())]
        tallies.append(report.sources.setdefault(source, Tally()))
        if label:
            tallies.append(report.products.setdefault(label, Tally()))
        for tally in tallies:
            tally.add(band, verdicts, age, most)
    ranked = sorted(report.products.items(), key=lambda item: (-item[1].judged, item[0]))
    report.products = dict(ranked)
    report.corrections = statistics.corrections(span)
    report.outages = statistics.outages(span)
    for outage in report.outages:
        report.sources.setdefault(outage["source"], Tally())
    return report
