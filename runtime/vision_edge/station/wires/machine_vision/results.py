"""Results of one vision system: made of verdicts, kept, and found again."""

from __future__ import annotations

import fnmatch
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from vision_edge.station.core.wire import Record
from vision_edge.station.wires.payload import encoded

_LOG = logging.getLogger(__name__)
KEPT = 100
"""Results of a source that are found again."""
COMPLETED, ABORTED = 1, 3
"""States of a result (OPC 40100-1, section 12.19)."""
IDENTIFY = "identify"
"""The recipe that holds where no product is expected."""


@dataclass(frozen=True)
class Job:
    """What results belong to.

    Attributes:
        id: Its identifier.
        meas: What the client calls the measurement, or None.
        part: What the client calls the part, or None.
    """

    id: str
    meas: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class Result:
    """One result.

    Attributes:
        id: The verdict's identifier.
        state: `COMPLETED`, or `ABORTED`: a command to which nothing was seen in time.
        job: What it belongs to.
        time: When it was made, UTC.
        began: When its picture was taken, UTC.
        recipe: The product that was expected, or None.
        configuration: The bundle.
        content: Label (empty: unknown), whether it is known, score, verification (`right`, `wrong`,
            `unsure` or empty), band, and the verdict as JSON.
    """

    id: str
    state: int
    job: Job
    time: datetime
    began: datetime
    recipe: str | None
    configuration: str
    content: Sequence[str | bool | float] = field(default_factory=tuple)


def result_of(record: Record, job: Job, expected: str | None, configuration: str) -> Result:
    """Return the result of a verdict.

    Args:
        record: The verdict.
        job: What it belongs to.
        expected: The product that is expected now; where the verdict says against which it was
            judged, that holds.
        configuration: The bundle.
    """
    told = record.get("verification") or {}
    time = datetime.fromisoformat(record["time"])
    return Result(
        id=str(record["id"]),
        state=COMPLETED,
        job=job,
        time=time,
        began=time - timedelta(milliseconds=float(record["age_ms"])),
        recipe=told.get("expected") or expected,
        configuration=configuration,
        content=(
            record["label"] or "",
            bool(record["known"]),
            float(record["score"]),
            str(told.get("answer", "")),
            str(record["band"]),
            _as_json(record),
        ),
    )


def _as_json(record: Record) -> str:
    """Return a verdict as JSON; empty, and logged, where it holds what JSON has no word for."""
    try:
        return encoded(record).decode("utf-8")
    except ValueError as error:
        _LOG.warning("OPC UA: a result goes without its JSON: %s", error)
        return ""


class Results:
    """The latest results of one source."""

    def __init__(self) -> None:
        self._kept: deque[Result] = deque(maxlen=KEPT)

    def add(self, result: Result) -> None:
        """Keep a result; the oldest goes."""
        self._kept.append(result)

    def get(self, identifier: str) -> Result | None:
        """Return the newest result of an identifier; None if there is none (any more)."""
        return next((one for one in reversed(self._kept) if one.id == identifier), None)

    def found(self, fits: Callable[[Result], bool]) -> list[Result]:
        """Return results that fit, newest first."""
        return [one for one in reversed(self._kept) if fits(one)]


def matches(pattern: str, value: str | None) -> bool:
    """Return whether a name fits a filter: empty or `*` fits all, `*` any signs."""
    if pattern in ("", "*"):
        return True
    if value is None:
        return False
    literal = "".join(f"[{sign}]" if sign in "?[" else sign for sign in pattern)
    return fnmatch.fnmatchcase(value, literal)


def page(found: Sequence[Any], start: int, most: int) -> tuple[list[Any], bool]:
    """Return one page of what was found, and whether it is the last.

    Args:
        found: All.
        start: How many to pass over.
        most: How many to return; 0: all.
    """
    rest: Iterable[Any] = found[start:]
    chosen = list(rest)[: most or None]
    return chosen, start + len(chosen) >= len(found)
