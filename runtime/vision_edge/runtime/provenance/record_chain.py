"""Writing records: one file at a time, appended to, sealed, and gone on with in the next.

A process that is killed loses no line that it has written; a power cut loses the last second's. The
file is then not sealed, and the next start cuts off a line that is torn, says so, and seals it as
`recovered`. Nothing is ever deleted: where there is no more room, writing fails, and how much was
not written stands in the next line that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.record_kept import Kept
from vision_edge.runtime.provenance.record_lines import (
    MAX_LINE,
    NOTHING,
    Line,
    file_name,
    files_of,
    hash_of,
    now,
    number_of,
    seal_of,
)
from vision_edge.runtime.system.files import fsync_path

Reason = Literal["shift", "size", "stop", "recovered"]
RESERVE = 16 << 10
"""Bytes kept free of all that records may have: the seal, and what is said of a gap, always fit."""
SYNC_SECONDS = 1.0
_KILLED = "counted up to a second before the process ended"


class RecordsFullError(ProvenanceError):
    """There is no more room for records."""


class RecordChain:
    """The records of one station; its methods are not for two threads at once.

    Args:
        folder: Where the files lie; made if there is none.
        station: Who writes.
        key: Seals the files.
        file_bytes: Of a file, after which the next begins.
        most_bytes: Of all files.

    Attributes:
        lost: By kind, what could not be written since the last line that could.

    Raises:
        ProvenanceError: If the folder cannot be used, or another process uses it.
    """

    def __init__(
        self, folder: Path, station: str, key: PrivateKey, file_bytes: int, most_bytes: int
    ) -> None:
        self.folder, self.lost = folder, Counter[str]()
        self._station, self._key = station, key
        self._file_bytes, self._most_bytes = file_bytes, most_bytes
        self._file: int | None = None
        self._others = self._size = 0
        self._noted = -SYNC_SECONDS
        self._synced, self._lost_since, self._why = time.monotonic(), now(), ""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ProvenanceError(
                f"{folder}: records cannot be written ({error.strerror})",
                fix="check the folder and its rights; a folder has the records of one station",
            ) from error
        self._number, self._head, self._problem = 0, NOTHING, ""
        self._went_on = False
        self._kept: Kept | None = None

    def append(self, kind: str, body: dict[str, Any]) -> None:
        """Write one line; the first opens a file.

        Raises:
            RecordsFullError: If records have all the room that they may have.
            OSError: If it cannot be written; the file then ends with the line before.
        """
        try:
            self.go_on()
            if self._file is None:
                self._open()
            if self.lost:
                self._put("gap", self._gap())
                self._gap_is_told()
            self._put(kind, body)
        except (OSError, ProvenanceError) as error:
            self._lose(kind, error)
            raise
        if self._size >= self._file_bytes:
            self.seal("size")

    def lose(self, kind: str, why: str) -> None:
        """Count what was not written because nobody had the time."""
        self._lose(kind, OSError(0, why))

    def seal(self, reason: Reason) -> None:
        """Seal the file, if one is open; the next line opens another.

        Raises:
            OSError: If it cannot be written; the file is then sealed by the next start.
        """
        if self._file is None:
            return
        if self.lost:
            self._put("gap", self._gap(), free=True)
            self._gap_is_told()
        told = {
            "station": self._station, "number": self._number, "lines": self._lines,
            "head": self._head, "previous": self._previous, "first": self._first,
            "last": self._latest, "reason": reason,
        }  # fmt: skip
        name = file_name(self._number)
        envelope = seal_of(name, self._digest.hexdigest(), told, self._key)
        self._put("seal", {"envelope": envelope.document()}, free=True)
        self.sync()
        os.close(self._file)
        self._file = None
        self._kept = Kept(self._number, self._head)
        self._kept.write(self.folder)

    def go_on(self) -> None:
        """Find where an earlier process ended, and seal its file; once, before anything else.

        Raises:
            OSError: If the seal cannot be written: the next call tries again.
        """
        if self._kept is None:
            self._kept = Kept.read(self.folder)
            if self._kept.lost:
                self.lost.update(self._kept.lost)
                self._lost_since, self._why = self._kept.since, f"{self._kept.why}; {_KILLED}"
        if not self._went_on:
            self._number, self._head, self._problem = self._last()
            self._went_on = True

    def sync(self) -> None:
        """Have the disk hold all that is written."""
        if self._file is not None:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def tick(self) -> None:
        """Have the disk hold what was written, once a second."""
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def close(self) -> None:
        """Seal the file, and let others have the folder.

        Raises:
            OSError: If the seal cannot be written.
        """
        try:
            self.go_on()
            self.seal("stop")
        finally:
            os.close(self._lock)

    def _open(self) -> None:
        """Begin the next file."""
        self._others, _ = self._measured()
        self._check_room(RESERVE)
        path = self.folder / file_name(self._number + 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o640)
        self._number, self._previous = self._number + 1, self._head
        self._size, self._lines, self._digest = 0, 0, hashlib.sha256()
        self._first = now()
        try:
            self._put("open", self._opening())
            fsync_path(self.folder)
        except OSError:  # no room for a line: then for no file either
            os.close(self._file)
            self._file, self._number, self._head = None, self._number - 1, self._previous
            path.unlink()
            raise
        self._problem = ""

    def _opening(self) -> dict[str, Any]:
        told: dict[str, Any] = {"format": "vision-edge records 1", "station": self._station}
        told |= {"file": self._number, "keyid": self._key.keyid}
        return {**told, "problem": self._problem} if self._problem else told

    def _put(self, kind: str, body: dict[str, Any], *, free: bool = False) -> None:
        assert self._file is not None
        moment = now()
        data = Line(self._lines + 1, moment, kind, self._head, body).to_bytes()
        if len(data) > MAX_LINE:
            raise OSError(0, f"a line of {len(data)} bytes, more than {MAX_LINE}")
        if not free:
            self._check_room(RESERVE + len(data))
        self._write(data + b"\n")
        self._size += len(data) + 1
        self._lines += 1
        if kind != "seal":
            self._digest.update(data + b"\n")
            self._latest = moment
        self._head = hash_of(data)

    def _write(self, data: bytes) -> None:
        """Write all of it, or leave the file as it was."""
        assert self._file is not None
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise

    def _check_room(self, wanted: int) -> None:
        held = self._others + (self._size if self._file is not None else 0)
        if held + wanted > self._most_bytes:  # unless some were taken away by now
            self._others, held = self._measured()
        if held + wanted > self._most_bytes:
            raise RecordsFullError(
                f"{self.folder}: records have {held / 1e6:.1f} MB, of {self._most_bytes / 1e6:.1f}",
                fix="take sealed files away to your archive, or raise most_mb in [records]",
            )

    def _measured(self) -> tuple[int, int]:
        """Return the bytes of the files but the open one, and of all."""
        own = file_name(self._number) if self._file is not None else ""
        sizes = {path.name: path.stat().st_size for path in files_of(self.folder)}
        return sum(size for name, size in sizes.items() if name != own), sum(sizes.values())

    def _gap(self) -> dict[str, Any]:
        since = self._lost_since.isoformat(timespec="milliseconds")
        return {"not_written": dict(self.lost), "since": since, "why": self._why}

    def _lose(self, kind: str, error: Exception) -> None:
        if not self.lost:
            self._lost_since = now()
            said = getattr(error, "what", None) or getattr(error, "strerror", None) or error
            self._why = str(said)[:300]
        self.lost[kind] += 1
        if self._kept is not None and time.monotonic() - self._noted >= SYNC_SECONDS:
            self._noted = time.monotonic()
            self._keep(Counter(self.lost))

    def _gap_is_told(self) -> None:
        self.lost.clear()
        if self._kept is not None and self._kept.lost:
            self._keep(Counter())

    def _keep(self, lost: Counter[str]) -> None:
        """Have what is lost outlive a kill, where the disk has room for that."""
        assert self._kept is not None
        self._kept = replace(self._kept, lost=lost, since=self._lost_since, why=self._why)
        with contextlib.suppress(OSError):
            self._kept.write(self.folder)

    # --- going on where an earlier process ended -----------------------------------------------

    def _last(self) -> tuple[int, str, str]:
        """Return number and last hash of the latest file, and what is wrong with it."""
        files = files_of(self.folder)
        assert self._kept is not None
        if not files or (number_of(files[-1]) or 0) < self._kept.number:
            return self._kept.number, self._kept.head, ""
        return self._recovered(files[-1])

    def _recovered(self, path: Path) -> tuple[int, str, str]:
        """Seal a file that was not sealed, after its last whole line, if its chain holds."""
        number = number_of(path) or 0
        state = _Replay()
        with path.open("rb") as file:
            while state.take(file.readline(MAX_LINE + 2)):
                pass
        torn = path.stat().st_size - state.size
        if state.problem or (state.sealed and torn):
            why = state.problem or "there are bytes after the seal"
            return number, state.head, f"{path.name}: {why}; it was left as it was"
        if state.sealed:
            return number, state.head, ""
        if not state.lines:  # killed before its first line was whole
            path.unlink()
            assert self._kept is not None
            known, head = self._kept.number, self._kept.head
            before = self._recovered(files_of(self.folder)[-1]) if files_of(self.folder) else None
            return before or (known, head, "")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self._file, state.size)
        self._number, self._head, self._previous = number, state.head, state.previous
        self._size, self._lines, self._digest = state.size, state.lines, state.digest
        self._first, self._latest = state.first, state.latest
        self._put("recovered", {"torn_bytes": torn}, free=True)
        self.seal("recovered")
        return number, self._head, ""


class _Replay:
    """What a file's whole lines say, read from its begin."""

    def __init__(self) -> None:
        self.head, self.previous, self.problem, self.sealed = NOTHING, NOTHING, "", False
        self.size, self.lines, self.digest = 0, 0, hashlib.sha256()
        self.first: datetime = now()
        self.latest: datetime = self.first

    def take(self, data: bytes) -> bool:
        """Take a line; whether to go on."""
        if not data.endswith(b"\n") or self.sealed:
            return False
        try:
            line = Line.from_bytes(data[:-1])
        except (ValueError, RecursionError) as error:
            self.problem = f"line {self.lines + 1} is none ({error})"
            return False
        if line.number != self.lines + 1 or (self.lines and line.prev != self.head):
            self.problem = f"line {self.lines + 1} does not follow the one before"
            return False
        if not self.lines:
            self.previous, self.first = line.prev, line.time
        self.head, self.latest, self.sealed = hash_of(data[:-1]), line.time, line.kind == "seal"
        self.size += len(data)
        self.lines += 1
        self.digest.update(data)
        return True
