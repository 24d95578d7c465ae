"""One SQLite file: created whole, opened only if it is ours, changed only in transactions."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import GalleryBusyError, GalleryError

WAIT_S = 30.0
"""Seconds that a file is waited for which another program holds."""
_APPLICATION_ID = 0x56454744  # "VEGD": tells a gallery from any other SQLite file
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, jpeg BLOB NOT NULL, origin TEXT NOT NULL
) STRICT;
CREATE TABLE embeddings (
  snapshot INTEGER NOT NULL REFERENCES snapshots(id), fingerprint TEXT NOT NULL,
  vector BLOB NOT NULL, PRIMARY KEY (snapshot, fingerprint)
) STRICT;
CREATE TABLE events (
  version INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, author TEXT NOT NULL,
  kind TEXT NOT NULL, label TEXT, snapshot INTEGER REFERENCES snapshots(id), argument TEXT
) STRICT;
CREATE TRIGGER events_keep BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
"""
_LATER = {
    "catalogue": "CREATE TABLE IF NOT EXISTS catalogue "
    "(snapshot INTEGER PRIMARY KEY REFERENCES snapshots(id)) STRICT",
    "patches": "CREATE TABLE IF NOT EXISTS patches "
    "(snapshot INTEGER NOT NULL REFERENCES snapshots(id), fingerprint TEXT NOT NULL, "
    "vectors BLOB NOT NULL, PRIMARY KEY (snapshot, fingerprint)) STRICT",
    "station_frames": "CREATE TABLE IF NOT EXISTS station_frames "
    "(id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL, vector BLOB NOT NULL, "
    "times INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL, priority REAL NOT NULL) "
    "STRICT",
}
"""Tables that came later: a file has those that it needs, and older programs read it as well."""


class Database:
    """The SQLite file under a gallery; every failure is a `GalleryError` that names the file.

    Args:
        path: The file.
        initial: Values of the `meta` table for a new file; None refuses to make one.
        writes: Whether it is to be changed. A file that is only read needs no right to write it:
            it may be another user's, on a medium or in a container that cannot be written.
        wait_s: How long, in seconds, each statement waits for another program that holds the file.

    Raises:
        GalleryBusyError: If another program holds it for longer than that.
        GalleryError: If the file is not a gallery, is damaged, or of an unknown version.
    """

    def __init__(
        self,
        path: Path,
        initial: dict[str, str] | None,
        *,
        writes: bool = True,
        wait_s: float = WAIT_S,
    ) -> None:
        self.path, self._writes, self._wait_s = path, writes, wait_s
        with self.translated():
            if not path.exists() and initial is None:
                raise GalleryError(
                    f"{path}: there is no gallery here",
                    fix="register a product first, or check the path",
                )
            self._connection = self._connect() if writes else reading_connection(path, wait_s)
            try:
                self._prepare(initial)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file; further calls fail."""
        self._connection.close()

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with self.translated():
            return self._connection.execute(sql, parameters).fetchall()

    def has_table(self, name: str) -> bool:
        """Whether the file has a table that came later than its version."""
        sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.rows(sql, (name,)) == [(1,)]

    def add_table(self, name: str) -> None:
        """Make a table that came later than the file's version, unless it is there."""
        self.rows(_LATER[name])

    def meta(self, key: str) -> str:
        """Return a value of the `meta` table."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        if not rows:
            raise GalleryError(f"{self.path}: damaged: it has no {key}", fix="restore a copy")
        return str(rows[0][0])

    def set_meta(self, values: dict[str, str]) -> None:
        """Write values of the `meta` table."""
        for key, value in values.items():
            self.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block as one write transaction: on any error nothing of it remains."""
        with self.translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block on one state of the file, whatever others write meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        with self.translated():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLite's errors, and the operating system's, into `GalleryError`."""
        try:
            yield
        except (sqlite3.DatabaseError, OSError, UnicodeError) as error:
            if _is_busy(error):
                raise GalleryBusyError(
                    f"{self.path}: another program holds it for longer than {self._wait_s:g} s; "
                    "nothing was changed",
                    fix="try again; if it lasts, end the program that holds it",
                ) from error
            raise GalleryError(
                f"{self.path}: {error}",
                fix="check that the file is a gallery, that it and its folder can be written, "
                "and that the disk is not full",
            ) from error

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """Turn records that contradict each other into a `GalleryError`."""
        try:
            yield
        except (KeyError, ValueError) as error:
            raise GalleryError(
                f"{self.path}: damaged: its records contradict each other ({error!r})",
                fix="restore a copy of the file",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self._wait_s, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, initial: dict[str, str] | None) -> None:
        """Check that the file is a gallery; make one of it if it is empty and may be made."""
        if self._is_empty() and initial is not None:
            self._create(initial)
        elif self._pragma("application_id") != _APPLICATION_ID:
            raise GalleryError(
                f"{self.path}: this file is not a gallery", fix="check the path given"
            )
        if self._writes:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        version = self._pragma("user_version")
        if version != _SCHEMA_VERSION:
            raise GalleryError(
                f"{self.path}: gallery version {version} is not one this program reads "
                f"({_SCHEMA_VERSION})",
                fix="update vision-edge on this device",
            )

    def _create(self, initial: dict[str, str]) -> None:
        """Write the schema in one transaction, unless another process just did."""
        with self.transaction():
            if not self._is_empty():
                return
            for statement in _statements(_SCHEMA):
                self._connection.execute(statement)
            self.set_meta(initial)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _is_empty(self) -> bool:
        return self.rows("SELECT count(*) FROM sqlite_master") == [(0,)]

    def _pragma(self, name: str) -> int:
        return int(self.rows(f"PRAGMA {name}")[0][0])


def _is_busy(error: Exception) -> bool:
    """Whether another connection holds the file (`SQLITE_BUSY`, which Python 3.10 only words)."""
    return isinstance(error, sqlite3.OperationalError) and "is locked" in str(error)


def reading_connection(path: Path, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """Open a file to be read, with as little as its file system allows.

    SQLite reads a file in WAL mode only beside files of its own, which it makes where it may. Where
    it may not, the file is read as one that nobody changes, unless there are changes beside it.

    Raises:
        GalleryError: If its newest changes lie beside it and cannot be read from here.
    """
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        try:
            return _opened(path, "mode=rw", wait_s)
        except sqlite3.OperationalError as error:
            if _is_busy(error):  # to read it as one that nobody changes would be wrong
                raise
    beside = path.with_name(path.name + "-wal")
    if not beside.exists() or beside.stat().st_size == 0:
        return _opened(path, "immutable=1", wait_s)
    try:
        return _opened(path, "mode=ro", wait_s)
    except sqlite3.OperationalError as error:
        if _is_busy(error):
            raise
        raise GalleryError(
            f"{path}: its newest changes lie in {beside.name} and cannot be read without the right "
            f"to write here ({error})",
            fix="read it once as its owner (vision-edge gallery list), then copy or open it again",
        ) from None


def _opened(path: Path, how: str, wait_s: float) -> sqlite3.Connection:
    """Open a file and read from it; nothing can be written."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=wait_s, isolation_level=None
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements, as `sqlite3.complete_statement` sees them."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
