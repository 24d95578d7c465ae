"""The file of the tally: periods and counts in SQLite, each change of them whole or not at all.

A commit reaches the operating system at once, and the disk when `settle` is called: a process that
is killed loses nothing, a power cut what came after the last `settle`.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.shifts import Shift

log = logging.getLogger(__name__)
KEPT_PERIODS = 10_000
"""Periods kept: nine years of three shifts a day. Older ones stay in the total alone."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS periods (
  id INTEGER PRIMARY KEY, shift TEXT NOT NULL, shift_began TEXT NOT NULL, began TEXT NOT NULL,
  reason TEXT NOT NULL, by TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS counts (
  period INTEGER NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL,
  parts INTEGER NOT NULL, PRIMARY KEY (period, source, kind, label)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (
  source TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, parts INTEGER NOT NULL,
  PRIMARY KEY (source, kind, label)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last (source TEXT PRIMARY KEY, id TEXT NOT NULL) STRICT;
"""
_ADD_COUNTS = (
    "INSERT INTO counts VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET parts = parts + excluded.parts"
)
_ADD_TOTALS = (
    "INSERT INTO totals VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET parts = parts + excluded.parts"
)


class TallyError(VisionEdgeError):
    """Counts cannot be read or written."""


@dataclass(frozen=True)
class Period:
    """What is counted together.

    Attributes:
        id: Its number, rising.
        shift: Name of its shift.
        shift_began: When that began, ISO 8601.
        began: When it began itself, ISO 8601.
        reason: `start`, `shift` or `reset`.
        by: Who has reset; empty otherwise.
    """

    id: int
    shift: str
    shift_began: str
    began: str
    reason: str
    by: str


class TallyFile:
    """The file. One station writes it; its methods are not for two threads at once.

    Args:
        path: The SQLite file; made if there is none. A damaged one is put aside.

    Raises:
        TallyError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = _opened(path)
        except sqlite3.Error as error:
            raise TallyError(
                f"{path}: counts cannot be kept ({error})",
                fix="check the state folder, its permissions and the room on its disk",
            ) from error

    def period(self) -> Period | None:
        """Return the latest period."""
        row = self._db.execute("SELECT * FROM periods ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else Period(*row)

    def begin(self, shift: Shift, reason: str, by: str = "", now: datetime | None = None) -> Period:
        """Begin a period.

        Raises:
            sqlite3.Error: If it cannot be written.
        """
        moment = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
        values = (shift.name, shift.began.isoformat(), moment, reason, by)
        with self._transaction():
            done = self._db.execute(
                "INSERT INTO periods (shift, shift_began, began, reason, by) "
                "VALUES (?, ?, ?, ?, ?)",
                values,
            )
            number = int(done.lastrowid or 0)
            self._db.execute("DELETE FROM periods WHERE id <= ?", (number - KEPT_PERIODS,))
            self._db.execute("DELETE FROM counts WHERE period <= ?", (number - KEPT_PERIODS,))
        return Period(number, *values)

    def add(self, period: int, parts: Mapping[Any, int], last: Mapping[str, str]) -> None:
        """Add counts to a period and to the total, and note the last identifier of each source.

        Args:
            period: The period's number.
            parts: By (source, kind, label).
            last: The last identifier counted, by source.

        Raises:
            sqlite3.Error: If it cannot be written; nothing is added then.
        """
        rows = [(*key, count) for key, count in parts.items()]
        sources = {key[0] for key in parts}
        seen = [(source, last[source]) for source in sources if source in last]
        with self._transaction():
            self._db.executemany(_ADD_COUNTS, [(period, *row) for row in rows])
            self._db.executemany(_ADD_TOTALS, rows)
            self._db.executemany("INSERT OR REPLACE INTO last VALUES (?, ?)", seen)

    def counts(self, period: int) -> list[Any]:
        """Return source, kind, label and parts of a period."""
        sql = "SELECT source, kind, label, parts FROM counts WHERE period = ?"
        return self._db.execute(sql, (period,)).fetchall()

    def totals(self) -> list[Any]:
        """Return source, kind, label and parts of all periods that ever were."""
        return self._db.execute("SELECT source, kind, label, parts FROM totals").fetchall()

    def last(self) -> dict[str, str]:
        """Return the last identifier of each source."""
        return dict(self._db.execute("SELECT source, id FROM last").fetchall())

    def rows(self) -> list[tuple[Any, ...]]:
        """Return shift, began, reason, by, source, kind, label and parts, oldest first.

        Raises:
            TallyError: If they cannot be read.
        """
        try:
            return self._db.execute(
                "SELECT shift, began, reason, by, source, kind, label, parts "
                "FROM periods JOIN counts ON period = id "
                "ORDER BY id, source, kind, parts DESC, label"
            ).fetchall()
        except sqlite3.Error as error:
            raise TallyError(
                f"counts cannot be read: {error}", fix="check the disk of the state folder"
            ) from error

    def settle(self) -> None:
        """Have the disk hold all that is written; from any thread."""
        with suppress(sqlite3.Error):  # busy: the next time
            other = sqlite3.connect(self._path)
            try:
                other.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                other.close()

    def close(self) -> None:
        """Close it."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file; a damaged one is put aside, so that the station runs."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written
            raise
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.error("%s is damaged (%s); it is kept as %s, and counts begin anew", path, error, aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(aside)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        found = db.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        db.close()
        raise
    return db
