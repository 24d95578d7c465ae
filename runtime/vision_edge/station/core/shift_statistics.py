"""A shift in numbers: verdicts by the minute, source, product and band; outages; corrections.

Verdicts are counted in memory and written each second, so that one costs nothing; a station that
is cut off loses the last second's counts. Rows older than the bound are deleted, and products
beyond the bound of a day are counted as one, so the file stays small whatever comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.counted import counted_as
from vision_edge.station.core.tables import NEWEST, Tables
from vision_edge.station.core.wire import Record
from vision_edge.station.core.writer import Writer
from vision_edge.station.settings.history import StatisticsSettings

log = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS minutes (
  minute INTEGER NOT NULL, source TEXT NOT NULL, label TEXT NOT NULL, band TEXT NOT NULL,
  verdicts INTEGER NOT NULL, age_sum REAL NOT NULL, age_most REAL NOT NULL,
  PRIMARY KEY (minute, source, label, band)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outages (
  source TEXT NOT NULL, state TEXT NOT NULL, began REAL NOT NULL, ended REAL
) STRICT;
CREATE TABLE IF NOT EXISTS corrections (
  time REAL NOT NULL, source TEXT NOT NULL, given TEXT NOT NULL, band TEXT NOT NULL,
  right TEXT NOT NULL, author TEXT NOT NULL, version INTEGER NOT NULL
) STRICT;
"""
OTHER = "(other)"
"""The name of products beyond the bound."""
_OUT = ("stale", "lost")
_SWEEP_SECONDS = 3600.0
_DAY = 1440


class StatisticsError(VisionEdgeError):
    """The statistics cannot be read or written."""


@dataclass(frozen=True)
class Span:
    """A stretch of time.

    Attributes:
        since: From when, in seconds since 1970; whole minutes count.
        until: To when.
        source: One source alone; None for all.
    """

    since: float
    until: float
    source: str | None = None

    @property
    def minutes(self) -> tuple[int, int]:
        """The first minute of it, and the first that is none of it."""
        return int(self.since // 60), int(-(-self.until // 60))


class ShiftStatistics:
    """Counts what a station does.

    Args:
        path: The SQLite file.
        settings: How much is kept.
        clock: Seconds since 1970.
    """

    def __init__(
        self, path: Path, settings: StatisticsSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._clock = settings, clock
        self._tables = Tables(path, _SCHEMA, "the statistics", StatisticsError)
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str, str, str], list[float]] = {}
        self._named: tuple[int, set[str]] = (-1, set())
        self._out: set[str] = set()
        self._swept = 0.0
        self._end_outages()
        self._writer: Writer[None] = Writer("statistics", str, str, self.flush)

    def take(self, record: Record) -> None:
        """Count a verdict; never waits."""
        band = counted_as(record)
        label = record["label"] or (record["nearest"] if band == "review" else "")
        with self._lock:
            minute = int(self._clock() // 60)
            key = (minute, record["source_name"], self._name(minute, label), band)
            count = self._counts.setdefault(key, [0, 0.0, 0.0])
            count[0] += 1
            count[1] += record["age_ms"]
            count[2] = max(count[2], record["age_ms"])

    def state(self, source: str, state: str) -> None:
        """Note a source's state: when it has no new picture or is lost, and until when."""
        out = state in _OUT
        with self._lock:
            if out == (source in self._out):
                return
            (self._out.add if out else self._out.discard)(source)
            now = self._clock()
        with self._tables.changing() as db:
            if out:
                db.execute("INSERT INTO outages VALUES (?, ?, ?, NULL)", (source, state, now))
            else:
                db.execute(
                    "UPDATE outages SET ended = ? WHERE source = ? AND ended IS NULL",
                    (now, source),
                )

    def corrected(self, verdict: Record, right: str, author: str, version: int) -> None:
        """Count that a person put a verdict right: `label` or `nearest`, and `band`, of a record.

        Args:
            verdict: `source`, `label`, `nearest` and `band`, as the history has them.
            right: The product; empty for none.
            author: Who said so.
            version: The gallery's version that it made.
        """
        given = verdict.get("label") or (verdict["nearest"] if verdict["band"] == "review" else "")
        values = (self._clock(), verdict["source"], given, verdict["band"], right, author, version)
        with self._tables.changing() as db:
            db.execute("INSERT INTO corrections VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def withdraw(self, version: int, before: int = NEWEST) -> None:
        """Take back the corrections after a version of the gallery, to which it has returned.

        Args:
            version: That one.
            before: The version that it made by returning; what was put right from then on stays.
        """
        with self._tables.changing() as db:
            db.execute(
                "DELETE FROM corrections WHERE version > ? AND version < ?", (version, before)
            )

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            counts, self._counts = self._counts, {}
        try:
            with self._tables.changing() as db:
                db.executemany(
                    "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (minute, source, label, band) DO UPDATE SET "
                    "verdicts = verdicts + excluded.verdicts, "
                    "age_sum = age_sum + excluded.age_sum, "
                    "age_most = max(age_most, excluded.age_most)",
                    [(*key, int(n), total, most) for key, (n, total, most) in counts.items()],
                )
        except BaseException:
            self._take_back(counts)
            raise
        self._sweep()

    def counts(self, span: Span, step: int) -> list[tuple[int, str, str, str, int, float, float]]:
        """Return verdicts by step, source, label and band, in order.

        Args:
            span: From when to when.
            step: Minutes that are taken together, at least 1.

        Returns:
            (start in seconds since 1970, source, label, band, verdicts, mean age in ms, greatest
            age in ms) of each.
        """
        self.flush()
        first, end = span.minutes
        rows = self._tables.rows(
            "SELECT (minute - ?1) / ?2, source, label, band, sum(verdicts), "
            "sum(age_sum) / sum(verdicts), max(age_most) FROM minutes "
            "WHERE minute >= ?1 AND minute < ?3 AND (?4 IS NULL OR source = ?4) "
            "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            (first, step, end, span.source),
        )
        return [(60 * (first + step * k), *rest) for k, *rest in rows]

    def outages(self, span: Span) -> list[dict[str, Any]]:
        """Return the outages of sources that touch a span, the latest first."""
        rows = self._tables.rows(
            "SELECT source, state, began, ended FROM outages WHERE began < ?2 "
            "AND (ended IS NULL OR ended > ?1) AND (?3 IS NULL OR source = ?3) "
            "ORDER BY began DESC LIMIT 1000",
            (span.since, span.until, span.source),
        )
        return [dict(zip(("source", "state", "began", "ended"), row, strict=True)) for row in rows]

    def corrections(self, span: Span) -> list[dict[str, Any]]:
        """Return what persons put right within a span, as what, and how often; the most first."""
        rows = self._tables.rows(
            "SELECT given, band, right, count(*) FROM corrections WHERE time >= ?1 AND time < ?2 "
            "AND (?3 IS NULL OR source = ?3) GROUP BY given, band, right "
            "ORDER BY 4 DESC, 1, 2, 3 LIMIT 1000",
            (span.since, span.until, span.source),
        )
        return [dict(zip(("given", "band", "right", "times"), row, strict=True)) for row in rows]

    def close(self) -> None:
        """Write what was counted, and close the file."""
        ended = self._writer.close()
        try:
            self.flush()
            self._end_outages()
        except StatisticsError as error:  # a full disk, say: the station ends all the same
            log.error("the last counts are lost: %s", error)
        if ended:
            self._tables.close()

    def _name(self, minute: int, label: str) -> str:
        """Return what a product is counted as: itself, while the day has not too many."""
        day, names = self._named
        if day != minute // _DAY:
            rows = self._tables.rows(
                "SELECT DISTINCT label FROM minutes WHERE minute >= ?",
                (minute // _DAY * _DAY,),
            )
            self._named = (minute // _DAY, names := {row[0] for row in rows})
        if label and label not in names:
            if len(names) >= self._settings.products:
                return OTHER
            names.add(label)
        return label

    def _take_back(self, counts: dict[tuple[int, str, str, str], list[float]]) -> None:
        """Count again what could not be written: a full disk may have room later."""
        with self._lock:
            for key, (number, total, most) in counts.items():
                now = self._counts.setdefault(key, [0, 0.0, 0.0])
                self._counts[key] = [now[0] + number, now[1] + total, max(now[2], most)]

    def _sweep(self) -> None:
        """Delete what is older than the bound, at most once an hour."""
        now = self._clock()
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        oldest = now - 86400 * self._settings.days
        with self._tables.changing() as db:
            db.execute("DELETE FROM minutes WHERE minute < ?", (int(oldest // 60),))
            db.execute("DELETE FROM outages WHERE began < ?", (oldest,))
            db.execute("DELETE FROM corrections WHERE time < ?", (oldest,))

    def _end_outages(self) -> None:
        """End the outages that are under way: nobody watches any more."""
        with self._tables.changing() as db:
            db.execute("UPDATE outages SET ended = ? WHERE ended IS NULL", (self._clock(),))
