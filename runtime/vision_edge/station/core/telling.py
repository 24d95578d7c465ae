"""What lines see is told to all who listen: page, wires, memory, counts and records."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.event_hub import Hub
from vision_edge.station.core.identifiers import Identifiers
from vision_edge.station.core.memory import Memory
from vision_edge.station.core.metrics import Metrics
from vision_edge.station.core.passages import direction
from vision_edge.station.core.second_look import Judged
from vision_edge.station.core.source_line import Line, LineEvents
from vision_edge.station.core.tally import Tally
from vision_edge.station.core.wire import Record
from vision_edge.station.core.wiring import Wiring

if TYPE_CHECKING:
    from vision_edge.station.core.record_book import RecordBook

log = logging.getLogger(__name__)
KEPT_RECORDS = 1000
"""Verdicts that the API gives back, over all sources; about 1 MB."""


class Telling:
    """Tells of verdicts, states and parts, each in its line's thread.

    Args:
        name: The station's.
        session: Gives the session in use.
        hub: For pages and programs that listen.
        wiring: The wires.
        metrics: What is observed.
        identifiers: Makes those of records.
        memory: What is remembered of verdicts.
        tally: Counts parts.
        book: Of signed records; None where none is kept.

    Attributes:
        records: The latest verdicts, oldest first.
        events: What a line calls.
    """

    def __init__(
        self,
        name: str,
        session: Callable[[], Session],
        *,
        hub: Hub,
        wiring: Wiring,
        metrics: Metrics,
        identifiers: Identifiers,
        memory: Memory,
        tally: Tally,
        book: RecordBook | None,
    ) -> None:
        self._name, self._session = name, session
        self._hub, self._wiring, self._metrics = hub, wiring, metrics
        self._identifiers, self._memory, self._tally = identifiers, memory, tally
        self._book = book
        self.records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self.events = LineEvents(self._verdict, self.state, self._missed, self._view, self._parts)

    def _verdict(self, line: Line, frame: Frame, verdict: Verdict) -> None:
        """Tell all who listen of a verdict; in its line's thread."""
        record: Record = {
            "id": self._identifiers.new(),
            "station": self._name,
            "source_name": line.name,
            **verdict.document(),
        }
        if not line.in_view(frame, verdict):
            record["in_view"] = False
        if "part" in record:
            self._tally.count(record)
            line.guard.part(record)
        self.records.append(record)
        self._metrics.verdict(record)
        bundle = self._session().bundle
        vector = direction(verdict.embedding, bundle.centre)
        judged = None
        if vector is not None and verdict.embedding is not None:
            judged = Judged(bundle.manifest.identity.fingerprint, verdict.embedding)
        if self._book is not None:
            self._book.verdict(record)
        self._memory.take(frame, record, line.locator, vector, judged, line.settings.trigger)
        self._hub.publish("verdict", record)
        self._wiring.verdict(record)
        line.answers.verdict(record)

    def state(self, line: Line) -> None:
        """Tell how a source is."""
        status = line.status()
        log.info("%s: %s %s", line.name, status["state"], status["message"])
        self._memory.state(line.name, str(status["state"]))
        self._hub.publish("state", status)
        self._wiring.state(line.name, status)

    def _missed(self, line: Line, parts: int) -> None:
        self._tally.missed(line.name, parts)
        log.warning(
            "%s: %d part(s) were in view and not judged: too quick, or never wholly in view",
            line.name,
            parts,
        )

    def _view(self, line: Line) -> None:
        status = line.status()
        told = {"source": line.name, **{key: status[key] for key in ("in_view", "view_since")}}
        self._hub.publish("view", told)

    def _parts(self, parts: dict[str, Any]) -> None:
        if self._hub.subscribers:
            self._hub.publish("parts", parts)
