"""A small SQLite file of a station: opened so that a damaged one does not keep it from running."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError

log = logging.getLogger(__name__)
NEWEST = 2**63 - 1
"""Above every version of a gallery that is kept."""


class Tables:
    """One SQLite file, used by many threads, one at a time.

    Args:
        path: The file; made if there is none. A damaged one is put aside.
        schema: Its tables, as SQL that may be run again and again.
        what: What it holds, for errors.
        error: Which error to raise.

    Raises:
        VisionEdgeError: `error`, if it cannot be opened.
    """

    def __init__(
        self, path: Path, schema: str, what: str, error: type[VisionEdgeError] = VisionEdgeError
    ) -> None:
        self._what, self._error = what, error
        self._lock = threading.RLock()
        with self._translated():
            self._db = _opened(path, schema)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds.

        Raises:
            VisionEdgeError: If the file cannot be read.
        """
        with self._lock, self._translated():
            return self._db.execute(sql, parameters).fetchall()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Change the file in a block: all of it counts at its end, or nothing of it.

        Raises:
            VisionEdgeError: If it cannot be written.
        """
        with self._lock, self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(
                f"{self._what} cannot be used: {error}",
                fix="check the state folder, its permissions and the room on its disk",
            ) from error


def _opened(path: Path, schema: str) -> sqlite3.Connection:
    """Open the file; a damaged one is put aside, so that the station runs."""
    try:
        return _connected(path, schema)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written
            raise
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.warning("%s is damaged (%s); it is kept as %s", path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(aside)
        return _connected(path, schema)


def _connected(path: Path, schema: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(schema)
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages do not fit")
    except BaseException:
        db.close()
        raise
    return db
