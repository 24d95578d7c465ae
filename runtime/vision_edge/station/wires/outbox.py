"""The outbox: verdicts on their way out, in order, on disk until they are acknowledged.

`append` puts a payload into memory and returns; the outbox's own thread writes all that has come
together, in one transaction with `synchronous = FULL`, and begins again. So the disk sets the pace
of the commits and never that of the line: a verdict handed over is on disk after the commit under
way and its own (and `gather_s`). What is on disk survives `kill -9`, and a power cut as far as the
disk keeps its word on fsync; what is not yet, does not.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from vision_edge.station.wires.outbox_file import Entry, OutboxFile

_LOG = logging.getLogger(__name__)
_BATCH = 2000  # rows a transaction
_IN_MEMORY = 100_000  # rows that wait for a disk that fails
_RETRY_S = 1.0  # after a failed commit
_TIDY_S = 0.25  # between transactions that only delete
_COMPLAIN_S = 10.0  # between two complaints in the log


class Outbox:
    """A bounded, durable queue; every method may be called from any thread.

    Args:
        path: The SQLite file.
        max_rows: Entries kept at most, on disk and, where the disk fails, in memory.
        max_bytes: Bytes of payload kept at most.
        gather_s: Seconds to wait for more before what has come is written.
        retain_s: Seconds that the peer must be seen alive after it has acknowledged an entry,
            before the entry is deleted: a peer that dies sooner may have lost it.
        on_commit: Called from the outbox's thread when entries have reached the disk.

    Attributes:
        dropped: Entries given up since the start, never acknowledged.
        problem: Why nothing reaches the disk, or None.

    Raises:
        VisionEdgeError: If another process has the file, or it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_rows: int,
        max_bytes: int,
        gather_s: float = 0.0,
        retain_s: float = 0.0,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = OutboxFile(path)
        self._max_rows, self._max_bytes, self._retain_s = max_rows, max_bytes, retain_s
        self._gather_s, self._on_commit = gather_s, on_commit
        lock = threading.RLock()
        self._changed = threading.Condition(lock)  # for the outbox's thread
        self._settled = threading.Condition(lock)  # for those who wait for the disk
        self._pending: deque[tuple[str, bytes]] = deque()
        self._writing = 0  # rows of the transaction under way
        self._acknowledged = 0  # highest number
        self._expiring: deque[tuple[float, int]] = deque()  # (peer to be alive at, number)
        self._alive = 0.0  # when the peer was last seen alive
        self._closing = False
        self._complained = 0.0
        self.dropped = 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"outbox {path.name}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Entries not acknowledged yet."""
        with self._changed:
            done = max(self._acknowledged, self._file.first - 1)
            return max(0, self._file.last - done) + len(self._pending) + self._writing

    @property
    def start(self) -> int:
        """The number before that of the oldest entry: from here on everything is sent again."""
        return self._file.first - 1

    @property
    def written(self) -> int:
        """The number of the newest entry that has reached the disk."""
        return self._file.last

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was moved to, or None."""
        return self._file.set_aside

    def append(self, source: str, payload: bytes) -> None:
        """Queue a payload; it is on disk within the time of two commits."""
        with self._changed:
            if len(self._pending) >= min(self._max_rows, _IN_MEMORY):
                self._pending.popleft()
                self._drop(1, "the disk takes nothing")
            self._pending.append((source, payload))
            self._changed.notify()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued is on disk; return False if that takes longer."""
        with self._changed:
            return self._settled.wait_for(lambda: not (self._pending or self._writing), timeout)

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return entries on disk whose number is above `after`, oldest first.

        Raises:
            sqlite3.Error: If the disk fails.
        """
        return [] if after >= self._file.last else self._file.after(after, limit)

    def acknowledge(self, sequence: int) -> None:
        """Take all entries up to a number as received by the peer, which is alive."""
        now = time.monotonic()
        with self._changed:
            self._alive = now
            if sequence > self._acknowledged:
                self._acknowledged = sequence
                self._expiring.append((now + self._retain_s, sequence))
            self._changed.notify()

    def rewind(self) -> int:
        """Take all entries that are still here as not acknowledged: the peer may have died.

        Returns:
            The number before that of the oldest entry.
        """
        with self._changed:
            self._acknowledged = self._file.first - 1
            self._expiring.clear()
            return self._acknowledged

    @property
    def doubtful(self) -> bool:
        """Whether a sign of life of the peer would let entries be deleted."""
        with self._changed:
            return bool(self._expiring) and self._expiring[0][0] <= time.monotonic()

    def close(self) -> None:
        """Write what is queued, and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():
            self._file.close()

    def _run(self) -> None:
        tidied = 0.0
        while True:
            rows, closing = self._collected(tidied + _TIDY_S)
            tidied = time.monotonic()
            written = self._written(rows, self._deletable())
            if closing and (not written or not self._pending):
                return
            if not written:
                time.sleep(_RETRY_S)

    def _collected(self, tidy_at: float) -> tuple[list[tuple[str, bytes]], bool]:
        """Wait until there is something to write, or to delete, or the end; return the rows."""
        with self._changed:
            while not (self._pending or self._closing):
                wait = None
                if self._expiring and self._expiring[0][0] <= self._alive:
                    wait = tidy_at - time.monotonic()
                    if wait <= 0:
                        break
                self._changed.wait(wait)
            if self._gather_s and self._pending:
                self._changed.wait_for(self._enough, self._gather_s)
            rows = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
            self._writing = len(rows)
            return rows, self._closing

    def _enough(self) -> bool:
        return self._closing or len(self._pending) >= _BATCH

    def _deletable(self) -> int:
        """Return the highest number that may be deleted."""
        number = 0
        with self._changed:
            while self._expiring and self._expiring[0][0] <= self._alive:
                number = self._expiring.popleft()[1]
        return number

    def _written(self, rows: list[tuple[str, bytes]], done: int) -> bool:
        """Commit rows, and delete the entries up to `done` and what there is no room for.

        On failure the rows are put back, and the answer is False.
        """
        try:
            overflow = self._overflow(rows)
            delete_to = max(done, overflow)
            self._file.commit(rows, delete_to)
        except sqlite3.Error as error:
            self._put_back(rows, done, f"verdicts cannot be written to disk: {error}")
            return False
        with self._changed:
            lost = overflow - max(done, self._acknowledged, self._file.first - 1)
            self._file.count(rows, delete_to)
            self._writing = 0
            self.problem = None
            self._settled.notify_all()
            if lost > 0:
                self._drop(lost, "the outbox is full")
        if rows:
            self._on_commit()
        return True

    def _put_back(self, rows: list[tuple[str, bytes]], done: int, problem: str) -> None:
        """Keep for the next attempt what a commit that failed was to do."""
        with self._changed:
            self._writing = 0
            self._pending.extendleft(reversed(rows))
            if done:
                self._expiring.appendleft((0.0, done))
            self.problem = problem
        self._complain(problem)

    def _overflow(self, rows: list[tuple[str, bytes]]) -> int:
        """Return up to which number entries must go to make room for rows."""
        count = self._file.last - self._file.first + 1 + len(rows) - self._max_rows
        size = self._file.size + sum(len(row[1]) for row in rows) - self._max_bytes
        if count <= 0 and size <= 0:
            return 0
        number = 0
        for sequence, length in self._file.sizes(max(count, 0) + 4 * _BATCH):
            if count <= 0 and size <= 0:
                break
            number, count, size = sequence, count - 1, size - length
        return number

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        self._complain(f"{why}: {self.dropped} verdicts given up since the start, oldest first")

    def _complain(self, what: str) -> None:
        if time.monotonic() - self._complained > _COMPLAIN_S:
            self._complained = time.monotonic()
            _LOG.error("%s", what)
