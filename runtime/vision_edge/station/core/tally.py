"""The tally: how many parts of each product there were, in this shift and in all.

Each part is in the file before anybody is told of it, so that neither a restart nor a process that
is killed loses one or counts it twice. Shifts and resets begin a period; periods are never changed
afterwards, and the total is never reset.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vision_edge.station.core.counted import KINDS, Kind, counted_as
from vision_edge.station.core.shifts import Shift, Shifts
from vision_edge.station.core.tally_file import TallyError, TallyFile
from vision_edge.station.core.wire import Record

log = logging.getLogger(__name__)
TELL_SECONDS = 1.0
"""How often who listens is told of new counts, at most."""
_SAFE_SECONDS = 5.0
"""Counts of the last so many seconds may be lost where the power fails; none by any other end."""
_CLOCK_FAULT = timedelta(hours=24)
"""How far the clock may be set back before a shift begins anew by it; less is waited out."""


class Key(NamedTuple):
    """What is counted: a source's parts of one product, or those that are none."""

    source: str
    kind: Kind
    label: str


class Tally:
    """Counts parts, durably; from any thread.

    Args:
        path: The SQLite file.
        shifts: When shifts begin.
        changed: Called with the document after changes, at most once a second, in its own thread.
        clock: Returns the time of the day, aware.

    Attributes:
        problem: Why counts cannot be written now; empty where they can. They are kept in memory
            meanwhile.

    Raises:
        TallyError: If the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        shifts: Shifts,
        changed: Callable[[dict[str, Any]], None] = lambda document: None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.problem = ""
        self._shifts, self._changed, self._clock = shifts, changed, clock
        self._lock = threading.RLock()
        self._file = TallyFile(path)
        self._period = self._file.period() or self._file.begin(self._shifts.at(clock()), "start")
        self._now: Counter[Key] = self._counter(self._file.counts(self._period.id))
        self._all: Counter[Key] = self._counter(self._file.totals())
        self._last = self._file.last()
        self._unwritten: Counter[Key] = Counter()
        self._news = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="counts", daemon=True)
        self._thread.start()

    def count(self, record: Record) -> bool:
        """Count the part of a verdict; one whose `id` was counted already is not again.

        Where nothing was in view there was no part.

        Args:
            record: The verdict; of a source, identifiers rise.

        Returns:
            Whether it was counted.
        """
        source, identifier = record["source_name"], record["id"]
        kind = KINDS.get(counted_as(record))
        if kind is None:
            return False
        with self._lock:
            if identifier[:16] <= self._last.get(source, ""):
                return False
            self._last[source] = identifier[:16]
            self._add(Key(source, kind, record["label"] if kind == "product" else ""), 1)
        return True

    def missed(self, source: str, parts: int) -> None:
        """Count parts that were in view and got no verdict."""
        with self._lock:
            self._add(Key(source, "missed", ""), parts)

    def reset(self, who: str) -> None:
        """Begin to count anew; the total and the periods before stay.

        Args:
            who: Who wants it: a user, or a wire.

        Raises:
            TallyError: If it cannot be written.
        """
        with self._lock:
            self._write()
            if self.problem:
                raise TallyError(self.problem, fix="see to the disk of the state folder first")
            self._begin(self._shifts.at(self._clock()), "reset", who)
        log.info("counts were reset by %s", who)

    def document(self) -> dict[str, Any]:
        """Return the counts of this period and the total, as JSON values."""
        with self._lock:
            self._turn()
            return {
                "shift": self._period.shift,
                "since": self._period.began,
                "reset_by": self._period.by or None,
                "sources": _by_source(self._now),
                "total": _by_source(self._all),
                "problem": self.problem,
            }

    def totals(self) -> dict[Key, int]:
        """Return the total of each key."""
        with self._lock:
            return dict(self._all)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return all periods' counts, oldest first.

        Each row is shift, since, reason, by, source, kind, label and parts.

        Raises:
            TallyError: If they cannot be read.
        """
        with self._lock:
            self._turn()
            self._write()
            return self._file.rows()

    def close(self) -> None:
        """Write what is not written, and close the file; more than once does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(2.0)
        with self._lock:
            self._write()
            self._file.close()

    def _add(self, key: Key, parts: int) -> None:
        self._turn()
        for counts in (self._now, self._all, self._unwritten):
            counts[key] += parts
        self._news = True
        self._write()

    def _write(self) -> None:
        """Have the file know what is counted; what it refuses stays for the next time."""
        if not self._unwritten:
            return
        try:
            self._file.add(self._period.id, dict(self._unwritten), self._last)
        except sqlite3.Error as error:
            if not self.problem:
                log.error("counts cannot be written (%s); they are kept in memory", error)
            self.problem = f"counts cannot be written: {error}"
            return
        self._unwritten.clear()
        if self.problem:
            log.info("counts are written again")
            self.problem = ""

    def _turn(self) -> None:
        """Begin the next shift if its time has come."""
        now = self._clock()
        shift = self._shifts.at(now)
        if shift.name == self._period.shift:
            return
        began = datetime.fromisoformat(self._period.shift_began)
        if shift.began < began and began - now < _CLOCK_FAULT:
            return  # the clock was set back: the shift goes on
        self._write()
        if not self.problem:
            self._begin(shift, "shift", "")

    def _begin(self, shift: Shift, reason: Literal["shift", "reset"], who: str) -> None:
        try:
            self._period = self._file.begin(shift, reason, who, self._clock())
        except sqlite3.Error as error:
            self.problem = f"counts cannot be written: {error}"
            return
        self._now.clear()
        self._news = True

    def _tell(self) -> None:
        """Tell who listens, and have the disk hold what is written."""
        since_safe = 0.0
        while not self._closing.wait(TELL_SECONDS):
            since_safe += TELL_SECONDS
            with self._lock:
                self._turn()
                news, self._news = self._news, False
            try:
                if news:
                    self._changed(self.document())
                if since_safe >= _SAFE_SECONDS:
                    since_safe = 0.0
                    self._file.settle()
            except Exception:  # who listens must not end the counting
                log.exception("counts could not be told")

    @staticmethod
    def _counter(rows: list[tuple[str, Kind, str, int]]) -> Counter[Key]:
        return Counter({Key(source, kind, label): n for source, kind, label, n in rows})


def _by_source(counts: Counter[Key]) -> list[dict[str, Any]]:
    """Return counts by source, the most frequent product first."""
    sources: dict[str, dict[str, Any]] = {}
    for key, parts in sorted(counts.items(), key=lambda one: (one[0].source, -one[1], one[0])):
        entry = sources.setdefault(
            key.source,
            {
                "source": key.source,
                "parts": 0,
                "unsure": 0,
                "unknown": 0,
                "missed": 0,
                "products": {},
            },
        )
        if key.kind == "product":
            entry["products"][key.label] = parts
        else:
            entry[key.kind] = parts
        entry["parts"] += parts if key.kind != "missed" else 0
    return list(sources.values())
