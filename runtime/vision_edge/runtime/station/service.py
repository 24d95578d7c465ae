"""The station: sources, model, gallery and wires of one device, from its start to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from vision_edge.runtime.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.session import Session, open_session
from vision_edge.runtime.sources import Frame
from vision_edge.runtime.station.hub import Hub, Subscription
from vision_edge.runtime.station.identifiers import Identifiers
from vision_edge.runtime.station.line import Line, LineEvents
from vision_edge.runtime.station.model import Model
from vision_edge.runtime.station.products import Products
from vision_edge.runtime.station.settings import StationSettings
from vision_edge.runtime.station.wire import Commands, Record, Wire
from vision_edge.runtime.verdict import Verdict

log = logging.getLogger(__name__)
KEPT_RECORDS = 1000
STOP_SECONDS = 3.0


class NotFoundError(VisionEdgeError):
    """There is no source, capture, snapshot or picture of that name."""


class Station:
    """A running station. Call `start`, then `close`, or use it as a context manager.

    Args:
        settings: All of its settings.

    Attributes:
        name: What it is called.
        hub: Where its events are told.
    """

    def __init__(self, settings: StationSettings) -> None:
        self.settings = settings
        self.name = settings.station.name
        self.hub = Hub()
        self._identifiers = Identifiers()
        self._records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._wires: list[Wire] = []
        self._lines: dict[str, Line] = {}
        self._products: Products | None = None
        self._closing = threading.Lock()
        self._closed = False

    def __enter__(self) -> Station:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Load the bundle, read the gallery, start every source.

        Raises:
            VisionEdgeError: If bundle or gallery are not fit. A source that cannot be opened is no
                error: it is tried again.
        """
        settings = self.settings
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        session = open_session(load_bundle(settings.bundle), settings.provider, settings.threads)
        model = Model(session)
        products = Products(settings.gallery, model, settings.scoring, self._gallery_told)
        products.start()
        self._products = products
        events = LineEvents(self._verdict, self._line_state)
        self._lines = {
            source.name: Line(source, lambda: products.model, events) for source in settings.sources
        }
        for line in self._lines.values():
            line.start()

    def close(self) -> None:
        """Stop sources and wires within seconds; more than once does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self.hub.close()
        until = time.monotonic() + STOP_SECONDS
        for line in self._lines.values():
            line.stop()
        joins = [
            threading.Thread(target=line.join, args=(STOP_SECONDS,), daemon=True)
            for line in self._lines.values()
        ]
        closes = [threading.Thread(target=wire.close, daemon=True) for wire in self._wires]
        for thread in (*joins, *closes):
            thread.start()
        for thread in (*joins, *closes):
            thread.join(max(0.0, until - time.monotonic()))
        if self._products is not None:
            self._products.close()

    @property
    def session(self) -> Session:
        """The session in use."""
        return self.products.model.session

    @property
    def products(self) -> Products:
        """The gallery and what classifies with it.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        if self._products is None:
            raise VisionEdgeError("the station is not started", fix="wait until /readyz says so")
        return self._products

    @property
    def ready(self) -> bool:
        """Whether it gives verdicts, as far as the sources bring frames."""
        return self._products is not None and not self._products.problem and not self._closed

    def status(self) -> dict[str, Any]:
        """Return how the station is, as JSON values; what `GET status` answers."""
        session, products = self.session, self.products
        manifest = session.bundle.manifest
        return {
            "station": self.name,
            "version": version("vision-edge"),
            "ready": self.ready,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "bundle": {
                "name": manifest.name,
                "precision": manifest.precision,
                "fingerprint": manifest.identity.fingerprint,
                "embedding_dim": manifest.embedding_dim,
            },
            "provider": session.provider,
            "notes": [*session.notes, *filter(None, [products.problem])],
            "sources": [line.status() for line in self._lines.values()],
            "wires": [vars(wire.health()) for wire in self._wires],
            "gallery": {"version": products.version, "products": products.count},
            "review": {"pending": 0},
        }

    def records(self, limit: int = 50, source: str | None = None) -> list[Record]:
        """Return the latest verdicts, newest first; of one source, or of all."""
        newest = reversed(self._records.copy())
        chosen = [record for record in newest if source in (None, record["source_name"])]
        return chosen[:limit]

    def subscribe(self, size: int = 256) -> Subscription:
        """Return a bounded queue of what happens from now on."""
        return self.hub.subscribe(size)

    def add_wire(self, wire: Wire) -> None:
        """Start a wire; every verdict goes to it from now on."""
        wire.start(Commands(self.trigger))
        self._wires.append(wire)

    def trigger(self, source: str | None = None) -> None:
        """Judge a part now, at one source or at all that are judged on command.

        Raises:
            NotFoundError: If there is no such source.
            VisionEdgeError: If it is not judged on command, or none is.
        """
        if source is not None:
            self.line(source).trigger()
            return
        lines = [line for line in self._lines.values() if line.settings.trigger == "command"]
        if not lines:
            raise VisionEdgeError(
                "no source is judged on command", fix='set trigger = "command" for one'
            )
        for line in lines:
            line.trigger()

    def line(self, source: str) -> Line:
        """Return the line of a source.

        Raises:
            NotFoundError: If there is none of that name.
        """
        if source not in self._lines:
            raise NotFoundError(
                f"there is no source {source[:40]!r}", fix=f"there are: {', '.join(self._lines)}"
            )
        return self._lines[source]

    @contextmanager
    def gallery(self, author: str | None = None) -> Iterator[Gallery]:
        """Open the gallery for a block in this thread; a change of it counts at its end.

        Args:
            author: Who makes the changes.

        Raises:
            GalleryError: If it cannot be opened.
        """
        with self.products.opened(author) as gallery:
            yield gallery
        self.gallery_changed()

    def gallery_changed(self) -> None:
        """Classify with the gallery as it is now, at once.

        Raises:
            GalleryError: If it cannot be read.
        """
        self.products.refresh()

    def _verdict(self, line: Line, frame: Frame, verdict: Verdict) -> None:
        """Tell all who listen of a verdict; in its line's thread."""
        record: Record = {
            "id": self._identifiers.new(),
            "station": self.name,
            "source_name": line.name,
            **verdict.document(),
        }
        self._records.append(record)
        self.hub.publish("verdict", record)
        for wire in self._wires:
            wire.verdict(record)

    def _line_state(self, line: Line) -> None:
        status = line.status()
        log.info("%s: %s %s", line.name, status["state"], status["message"])
        self.hub.publish("state", status)

    def _gallery_told(self, version: int, products: int) -> None:
        self.hub.publish("gallery", {"version": version, "products": products})
