"""The station's records: every verdict and deed, signed, with gallery, bundle and operator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from vision_edge.runtime.errors import ProvenanceError, VisionEdgeError
from vision_edge.runtime.provenance.keys import PrivateKey, passphrase_of
from vision_edge.runtime.provenance.record_chain import RecordChain
from vision_edge.station.core.audit import SESSION
from vision_edge.station.core.shifts import Shifts
from vision_edge.station.core.wire import Record
from vision_edge.station.core.writer import Writer
from vision_edge.station.settings.provenance import RecordsSettings

log = logging.getLogger(__name__)
AHEAD = 10_000
"""Lines that may wait for the disk; what comes beyond is counted as not written."""
CLOSE_SECONDS = 5.0
LOGIN, LOGOUT = SESSION


class _Entry(NamedTuple):
    kind: str
    body: dict[str, Any]


class RecordBook:
    """Takes verdicts and deeds, and writes them in a thread of its own; no verdict waits for it.

    Args:
        settings: The section `[records]`.
        state: The state folder.
        station: The station's name.
        shifts: When a file is sealed and the next begins.
        context: Returns the gallery's version and the bundle's fingerprint, now.
        operator: Who is there at first; None for nobody known.
        clock: Returns the time of the day, aware.

    Raises:
        ProvenanceError: If the key cannot be read, or the folder cannot be used.
    """

    def __init__(
        self,
        settings: RecordsSettings,
        state: Path,
        station: str,
        shifts: Shifts,
        context: Callable[[], dict[str, Any]],
        operator: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        secret = settings.passphrase_file
        key = PrivateKey.from_file(settings.key, passphrase_of(secret) if secret else None)
        self._chain = RecordChain(
            settings.folder or state / "records",
            station,
            key,
            round(settings.file_mb * 1e6),
            round(settings.most_mb * 1e6),
        )
        self._shifts, self._context, self._clock = shifts, context, clock
        self._operator, self._shift = operator, shifts.at(clock()).name
        self._problem, self._crowded = "", 0
        self._writer: Writer[_Entry] = Writer("records", self._write, _told, self._idle, AHEAD)

    @property
    def problem(self) -> str:
        """What a person should know: that records are not written; empty for nothing."""
        lost = sum(self._chain.lost.values()) + self._crowded
        return f"{lost} record(s) were not written: {self._problem}" if lost else self._problem

    def verdict(self, record: Record) -> None:
        """Take a verdict, at once; from any thread."""
        self._take("verdict", {**record, **self._context(), "operator": self._operator})

    def deed(self, who: str, what: str, result: str | int, **details: Any) -> None:
        """Take what somebody did, at once; from any thread."""
        if result == 200 and what in (LOGIN, LOGOUT):
            self._operator = who if what == LOGIN else None
        body = {"who": who, "what": what, "result": result, "details": details}
        self._take("deed", {**body, **self._context(), "operator": self._operator})

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was taken is written, for so many seconds at most."""
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what was taken, seal the file and end."""
        self._writer.flush(CLOSE_SECONDS)
        if not self._writer.close():
            log.error("records: not all was written in time; the next start seals the file")
            return
        try:
            self._chain.close()
        except (OSError, ProvenanceError) as error:
            log.error("records: the file is not sealed (%s); the next start does that", error)

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        if not self._writer.put(_Entry(kind, body)):
            self._crowded += 1
            self._problem = "the disk is too slow for them"

    def _write(self, entry: _Entry) -> None:
        crowded, self._crowded = self._crowded, 0
        for _ in range(crowded):
            self._chain.lose("other", "the disk is too slow for them")
        try:
            self._turn()
            self._chain.append(entry.kind, entry.body)
            self._chain.tick()
        except (OSError, VisionEdgeError) as error:
            self._failed(error)
            return
        if self._problem:
            log.warning("records are written again; what was not is counted in them")
        self._problem = ""

    def _failed(self, error: Exception) -> None:
        said = getattr(error, "what", None) or getattr(error, "strerror", None) or str(error)
        if not self._problem:
            log.error("records are not written: %s", said)
        self._problem = str(said)

    def _turn(self) -> None:
        """Seal the file where another shift has begun."""
        shift = self._shifts.at(self._clock()).name
        if shift != self._shift:
            self._chain.seal("shift")
            self._shift = shift

    def _idle(self) -> None:
        try:
            self._chain.go_on()
            self._turn()
            self._chain.tick()
        except (OSError, VisionEdgeError) as error:
            self._failed(error)


def _told(_entry: _Entry) -> None:
    """Nothing: what could not be written is counted where it failed."""
