"""The review queue: pictures of what was unknown or doubtful, until a person has decided.

They lie in SQLite under the station's state folder and survive a restart. The queue is bounded, and
fills no quicker than a person can look.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.part_outlines import Box
from vision_edge.runtime.images.presence import crop_around
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.limits import Buckets
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.station import ReviewSettings

log = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  id TEXT PRIMARY KEY, time TEXT NOT NULL, source TEXT NOT NULL, nearest TEXT NOT NULL,
  score REAL NOT NULL, margin REAL, band TEXT NOT NULL, jpeg BLOB NOT NULL
) STRICT
"""
_COLUMNS = ("id", "time", "source", "nearest", "score", "margin", "band")
_AHEAD = 8


class ReviewError(VisionEdgeError):
    """The review queue cannot be read or written, or has no such picture."""


@dataclass(frozen=True)
class _Offer:
    frame: Frame
    record: Record
    box: Box | None


class ReviewQueue:
    """Pictures that wait for a person. Frames are offered by lines, and written by one thread.

    Args:
        path: The SQLite file.
        settings: How many are kept, and how quickly they come.
        changed: Called with how many wait, after each change.

    Attributes:
        dropped: Pictures that were pushed out by newer ones since the start.
        skipped: Pictures that came too quickly to be kept.
    """

    def __init__(
        self, path: Path, settings: ReviewSettings, changed: Callable[[int], None]
    ) -> None:
        self.dropped = self.skipped = 0
        self._settings, self._changed = settings, changed
        rate = settings.per_minute / 60
        self._buckets = Buckets(rate, max(3.0, settings.per_minute / 4))
        self._offers: Queue[_Offer | None] = Queue(_AHEAD)
        self._lock = threading.Lock()
        with _translated():
            self._db = _opened(path)
        self._pending = int(self._rows("SELECT count(*) FROM items")[0][0])
        self._thread = threading.Thread(target=self._write, name="review", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many pictures wait."""
        return self._pending

    @property
    def waiting(self) -> int:
        """How many offers are not written yet."""
        return self._offers.qsize()

    def offer(self, frame: Frame, record: Record, box: Box | None = None) -> None:
        """Keep a picture if its verdict was unknown or doubtful; never waits.

        Args:
            frame: What the verdict rests on.
            record: The verdict; where it is right, whatever else it is called, there is no doubt.
            box: Where the part lies: the picture is cut to it.
        """
        if record["known"] or (record.get("verification") or {}).get("answer") == "right":
            return
        if self._buckets.take(record["source_name"]) > 0:
            self.skipped += 1
            return
        try:
            self._offers.put_nowait(_Offer(frame, record, box))
        except Full:
            self.skipped += 1

    def items(self, limit: int) -> list[dict[str, Any]]:
        """Return what waits, newest first, as JSON values."""
        columns = ", ".join(_COLUMNS)
        rows = self._rows(f"SELECT {columns} FROM items ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def jpeg(self, identifier: str) -> bytes:
        """Return a picture.

        Raises:
            ReviewError: If it does not wait (any more).
        """
        rows = self._rows("SELECT jpeg FROM items WHERE id = ?", (identifier,))
        if not rows:
            raise ReviewError(
                f"there is no picture {identifier[:40]!r} to review (any more)",
                fix="somebody else may have decided on it; load the list again",
            )
        jpeg: bytes = rows[0][0]
        return jpeg

    def pictures(self, identifiers: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Return source and JPEG of each picture.

        Raises:
            ReviewError: If one of them does not wait (any more).
        """
        found = {}
        for identifier in dict.fromkeys(identifiers):
            jpeg = self.jpeg(identifier)
            [(source,)] = self._rows("SELECT source FROM items WHERE id = ?", (identifier,))
            found[identifier] = (str(source), jpeg)
        return found

    def remove(self, identifiers: Sequence[str]) -> list[str]:
        """Take pictures off the queue, those that still wait; return which they were."""
        gone = []
        with self._lock, _translated():
            self._db.execute("BEGIN IMMEDIATE")
            for identifier in dict.fromkeys(identifiers):
                done = self._db.execute("DELETE FROM items WHERE id = ?", (identifier,))
                gone += [identifier] * done.rowcount
            self._db.execute("COMMIT")
        self._recount()
        return gone

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was offered is written."""
        until = time.monotonic() + timeout
        while self._offers.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def close(self) -> None:
        """Write what was offered, and close the file."""
        self.flush()
        try:
            self._offers.put_nowait(None)
        except Full:
            return
        self._thread.join(1.0)
        with self._lock:
            self._db.close()

    def _write(self) -> None:
        while True:
            try:
                offer = self._offers.get(timeout=1.0)
            except Empty:
                continue
            try:
                if offer is None:
                    return
                self._keep(offer)
            except Exception:  # a full disk, say: the next may fit
                self.skipped += 1
                log.exception("a picture to review could not be kept")
            finally:
                self._offers.task_done()

    def _keep(self, offer: _Offer) -> None:
        record, image = offer.record, offer.frame.image
        jpeg = encode_jpeg(image if offer.box is None else crop_around(image, offer.box))
        values = (
            record["id"], record["time"], record["source_name"], record["nearest"],
            record["score"], record["margin"], record["band"], jpeg,
        )  # fmt: skip
        with self._lock, _translated():
            self._db.execute("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            excess = self._db.execute(
                "DELETE FROM items WHERE id NOT IN (SELECT id FROM items ORDER BY id DESC LIMIT ?)",
                (self._settings.most,),
            ).rowcount
        self.dropped += max(0, excess)
        self._recount()

    def _recount(self) -> None:
        self._pending = int(self._rows("SELECT count(*) FROM items")[0][0])
        self._changed(self._pending)

    def _rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _translated():
            return self._db.execute(sql, parameters).fetchall()


def _opened(path: Path) -> sqlite3.Connection:
    """Open the queue's file; a damaged one is put aside, so that the station runs."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written
            raise
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.warning("%s is damaged (%s); it is kept as %s", path, error, aside.name)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(aside)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(_SCHEMA)
        db.execute("SELECT count(*) FROM items").fetchall()
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ReviewError(
            f"the review queue cannot be used: {error}",
            fix="check the state folder, its permissions and the room on its disk",
        ) from error
