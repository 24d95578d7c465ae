"""The outbox's file: one SQLite table of numbered payloads, first in, first out."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError

_LOG = logging.getLogger(__name__)
_APPLICATION_ID = 0x5645474F  # "VEGO": tells an outbox from any other SQLite file
_SCHEMA = """
CREATE TABLE entries (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, payload BLOB NOT NULL
) STRICT
"""


@dataclass(frozen=True)
class Entry:
    """One payload that waits.

    Attributes:
        sequence: Its number: rising by 1, never used twice, and begun at the microseconds since
            1970 when the file was made, so that the numbers of a new file follow the old one's.
        source: The source's name.
        payload: A JSON object.
    """

    sequence: int
    source: str
    payload: bytes


class OutboxFile:
    """SQLite in WAL mode with `synchronous = FULL`: a commit has reached the disk when it returns.

    The file is locked while it is open, so that no two stations deliver the same verdicts. A
    damaged file is set aside, and a new one begun: a station must not stay down for it. All methods
    may be called from any thread, and raise `sqlite3.Error` where the disk fails.

    Args:
        path: The file.

    Attributes:
        first: Number of the oldest entry, or of the next one where there is none.
        last: Number of the newest entry there ever was.
        size: Bytes of all payloads.
        set_aside: Where a damaged file was moved to, or None.

    Raises:
        VisionEdgeError: If another process has the file, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._freed = 0  # bytes deleted since the last `count`
        self.set_aside: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._opened()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        self.first, self.last, self.size = self._measured()

    def commit(self, rows: Sequence[tuple[str, bytes]], delete_to: int) -> None:
        """Append payloads and delete the entries up to a number, in one transaction.

        The attributes follow with the next `count`.
        """
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            freed = self._delete(delete_to)
            self._connection.executemany(
                "INSERT INTO entries (source, payload) VALUES (?, ?)", rows
            )
        self._freed = freed

    def count(self, rows: Sequence[tuple[str, bytes]], delete_to: int) -> None:
        """Bring the attributes up to date with what `commit` just did."""
        self.first = max(self.first, min(delete_to, self.last) + 1)
        self.last += len(rows)
        self.size += sum(len(payload) for _, payload in rows) - self._freed
        self._freed = 0

    def after(self, sequence: int, limit: int) -> list[Entry]:
        """Return the oldest entries whose number is above `sequence`."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT sequence, source, payload FROM entries WHERE sequence > ? "
                "ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def sizes(self, limit: int) -> list[tuple[int, int]]:
        """Return number and bytes of the oldest entries."""
        with self._lock:
            return self._connection.execute(
                "SELECT sequence, length(payload) FROM entries ORDER BY sequence LIMIT ?", (limit,)
            ).fetchall()

    def close(self) -> None:
        """Close the file, and let go of it."""
        with self._lock:
            self._connection.close()

    def _delete(self, to: int) -> int:
        """Delete the entries up to a number; return the bytes of their payloads."""
        if to < self.first:
            return 0
        sizes = self._connection.execute(
            "SELECT total(length(payload)) FROM entries WHERE sequence <= ?", (to,)
        ).fetchone()
        self._connection.execute("DELETE FROM entries WHERE sequence <= ?", (to,))
        return int(sizes[0])

    def _measured(self) -> tuple[int, int, int]:
        """Return first, last and size of what the file holds."""
        execute = self._connection.execute
        last = int(execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()[0])
        first, size = execute(
            "SELECT min(sequence), total(length(payload)) FROM entries"
        ).fetchone()
        return (last + 1 if first is None else int(first)), last, int(size)

    def _opened(self) -> sqlite3.Connection:
        """Open the file; if it is damaged, open a new one in its place."""
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise  # locked, or a folder or disk that fails: the file itself may be sound
        except sqlite3.DatabaseError as error:
            self.set_aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
            _LOG.error("%s is damaged (%s): set aside as %s", self._path, error, self.set_aside)
            for suffix in ("", "-wal", "-shm"):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.replace(self.set_aside.with_name(self.set_aside.name + suffix))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=0.2, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _unusable(self, error: Exception) -> VisionEdgeError:
        if "locked" in str(error):
            return VisionEdgeError(
                f"{self._path}: another process uses this outbox",
                fix="stop the other station, or give each its own state_dir",
            )
        return VisionEdgeError(
            f"{self._path}: {error}",
            fix="check that the folder can be written, and that the disk is not full",
        )


def _prepare(connection: sqlite3.Connection) -> None:
    """Lock the file, make the table in an empty one, and check it."""
    execute = connection.execute
    execute("PRAGMA locking_mode = EXCLUSIVE")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = FULL")
    execute(f"PRAGMA journal_size_limit = {16 << 20}")
    execute("BEGIN IMMEDIATE")
    if execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        execute(_SCHEMA)
        execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (time.time_ns() // 1000,))
        execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    execute("COMMIT")
    if execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
        raise sqlite3.DatabaseError("not an outbox")
    found = execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(str(found[0]))
