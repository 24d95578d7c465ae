"""The station: sources, model, gallery and wires of one device, from its start to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.answers import Answer
from vision_edge.station.core.asked_rate import AskedRate
from vision_edge.station.core.audit import AuditLog
from vision_edge.station.core.bundle_switch import Bundles
from vision_edge.station.core.bursts import take_burst
from vision_edge.station.core.captures import Capture, Captures
from vision_edge.station.core.discretion import without_folders
from vision_edge.station.core.errors import BusyError, NoFrameError, NotThereError
from vision_edge.station.core.event_hub import Hub, Subscription
from vision_edge.station.core.expectations import Expectations, Expected
from vision_edge.station.core.gallery_follower import GalleryFollower
from vision_edge.station.core.identifiers import Identifiers
from vision_edge.station.core.memory import Memory
from vision_edge.station.core.metrics import Metrics
from vision_edge.station.core.product_codes import ProductCodes
from vision_edge.station.core.products import Products
from vision_edge.station.core.registrar import Registrar
from vision_edge.station.core.review_queue import ReviewQueue
from vision_edge.station.core.scenes import Roi
from vision_edge.station.core.scoring import Scoring
from vision_edge.station.core.shifts import Shifts
from vision_edge.station.core.source_line import Line
from vision_edge.station.core.state_folder import StateFolder
from vision_edge.station.core.tally import Tally
from vision_edge.station.core.telling import Telling
from vision_edge.station.core.trusted_bundles import provenance_notes
from vision_edge.station.core.wire import Commands, Record, Wire
from vision_edge.station.core.wiring import Wiring
from vision_edge.station.settings.station import ServerSettings, StationSettings
from vision_edge.station.settings.wires import ModbusSettings

if TYPE_CHECKING:
    from vision_edge.station.core.record_book import RecordBook

T = TypeVar("T")
log = logging.getLogger(__name__)
KEPT_RECORDS = 1000
STOP_SECONDS = 1.5


class Station:
    """A running station. Call `start`, then `close`, or use it as a context manager.

    Args:
        settings: All of its settings.

    Attributes:
        name: What it is called.
        hub: Where its events are told.
        wiring: Its wires.
        metrics: What is observed of it.
        captures: Pictures that wait to be registered.
        state: Its own folder, from the start to the end.
        identifiers: Makes those of its records.
        codes: Of its products, for controllers; None where no wire asks for them.
        book: Its signed records; None where the settings ask for none.
    """

    def __init__(self, settings: StationSettings) -> None:
        self.settings = settings
        self.name = settings.station.name
        self.hub = Hub()
        self.metrics = Metrics()
        self.captures = Captures(settings.server.capture_seconds)
        self.state: StateFolder | None = None
        self.identifiers = Identifiers()
        self.wiring = Wiring()
        self._lines: dict[str, Line] = {}
        self._products: Products | None = None
        self._memory: Memory | None = None
        self.codes: ProductCodes | None = None
        self._audit: AuditLog | None = None
        self._tally: Tally | None = None
        self._bundles: Bundles | None = None
        self._expectations: Expectations | None = None
        self._scoring: Scoring | None = None
        self._telling: Telling | None = None
        self.book: RecordBook | None = None
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
        self.state = StateFolder(settings.state_dir)
        try:
            self._start(self.state)
        except BaseException:
            self.close()
            raise

    def _start(self, state: StateFolder) -> None:
        settings = self.settings
        self._audit = AuditLog(state.path)
        self.identifiers = Identifiers(state.last_identifier(), state.keep_identifier)
        self._bundles = Bundles(settings, state, self.metrics.inference)
        model = self._bundles.open()
        self._expectations = Expectations(
            state.path / "expected.json",
            {source.name: source.expected for source in settings.sources},
            lambda name: self.telling.state(self._lines[name]) if name in self._lines else None,
        )
        asked = AskedRate(state.path / "asked-rate.json", settings.scoring)
        products = Products(
            settings.gallery, model, asked.settings, lambda *told: follower.changed(*told)
        )
        if settings.modbus is not None or settings.sparkplug is not None:
            modbus = settings.modbus or ModbusSettings.model_validate({})
            path = state.path / "product-codes.json"
            self.codes = ProductCodes(path, modbus.products, modbus.first_code)
        follower = GalleryFollower(products, self._expectations, self.codes, self.hub)
        self._scoring = Scoring(asked, products)
        self._products = products
        products.start()
        self._memory = Memory(state.path, settings, self._review_told, self.wiring.picture)
        follower.begin(self._memory)
        self.registrar = Registrar(products, self._memory)
        shifts = Shifts(settings.counting.shifts, settings.counting.timezone)
        self._tally = Tally(state.path / "counts.db", shifts, self._counts_told)
        self.book = self._records_of(state, shifts)
        self._telling = Telling(
            self.name,
            lambda: self.session,
            hub=self.hub,
            wiring=self.wiring,
            metrics=self.metrics,
            identifiers=self.identifiers,
            memory=self._memory,
            tally=self._tally,
            book=self.book,
        )
        events = self._telling.events
        scenes = state.path / "scenes"
        self._lines = {
            source.name: Line(
                source,
                lambda: products.model,
                events,
                partial(self.expectations.of, source.name),
                scenes,
            )
            for source in settings.sources
        }
        for line in self._lines.values():
            line.start()

    def _records_of(self, state: StateFolder, shifts: Shifts) -> RecordBook | None:
        """Return the book of signed records, which hears of every deed; None where none is kept."""
        settings = self.settings
        if settings.records is None:
            return None
        from vision_edge.station.core.record_book import RecordBook

        operator = None if settings.server.guarded else "local"
        book = RecordBook(settings.records, state.path, self.name, shifts, self._context, operator)
        self.audit.heard = book.deed
        return book

    @property
    def _shared(self) -> bool:
        """Whether products come from a line whose entries need no signature."""
        fleet, provenance = self.settings.fleet, self.settings.provenance
        signed = provenance is not None and provenance.require_line_signature
        return fleet is not None and fleet.share_gallery and not signed

    def _context(self) -> dict[str, Any]:
        """Return what each record says of gallery and bundle."""
        manifest, signed = self.session.bundle.manifest, self.session.bundle.signed
        return {
            "gallery_version": self.products.version,
            "bundle": manifest.identity.fingerprint,
            "bundle_version": None if signed is None else signed.artifact.version,
        }

    def close(self) -> None:
        """Stop sources and wires within seconds; more than once does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self.hub.close()
        for line in self._lines.values():
            line.stop()
        joins = [
            threading.Thread(target=line.join, args=(STOP_SECONDS,), daemon=True)
            for line in self._lines.values()
        ]
        for thread in joins:
            thread.start()
        until = time.monotonic() + STOP_SECONDS
        for thread in joins:
            thread.join(max(0.0, until - time.monotonic()))
        self.wiring.close()
        if self.book is not None:
            self.book.close()
        for part in (self._products, self._memory, self._tally, self._audit, self.state):
            if part is not None:
                part.close()

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
        return _started(self._products)

    @property
    def review(self) -> ReviewQueue:
        """Pictures that wait for a person.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return self.memory.review

    @property
    def memory(self) -> Memory:
        """What is remembered of its verdicts.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._memory)

    @property
    def tally(self) -> Tally:
        """How many parts there were.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._tally)

    @property
    def audit(self) -> AuditLog:
        """Who did what.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._audit)

    @property
    def expectations(self) -> Expectations:
        """Which product each source should show.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._expectations)

    @property
    def telling(self) -> Telling:
        """Tells of what its sources see.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._telling)

    @property
    def scoring(self) -> Scoring:
        """When a product is recognised, and what the gallery's own pictures say of that.

        Raises:
            VisionEdgeError: If the station is not started.
        """
        return _started(self._scoring)

    @property
    def lines(self) -> list[Line]:
        """All sources, in the order of the settings."""
        return list(self._lines.values())

    @property
    def closed(self) -> bool:
        """Whether it stops or has stopped."""
        return self._closed

    @property
    def ready(self) -> bool:
        """Whether it gives verdicts, as far as the sources bring frames."""
        products = self._products
        sound = products is not None and (products.held or not products.problem)
        return sound and not self._closed

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
            "notes": [
                self.discreet(note)
                for note in (
                    *session.notes,
                    *_notes(self.settings.server, products),
                    *provenance_notes(session.bundle.signed, shared=self._shared),
                    *filter(None, [self.tally.problem, self.book.problem if self.book else None]),
                )
            ],
            "sources": [line.status() for line in self._lines.values()],
            "wires": [
                asdict(replace(health, detail=self.discreet(health.detail)))
                for health in self.wiring.health()
            ],
            "scoring": self.scoring.asked.document(),
            "gallery": {"version": products.version, "products": products.count},
            "review": {"pending": self.review.pending, "answered": self.review.answered},
        }

    def discreet(self, text: str) -> str:
        """Return what may be told outside of an error or a note: no folder of this machine."""
        settings = self.settings
        records = settings.records.folder if settings.records is not None else None
        known = (settings.gallery, settings.bundle, settings.state_dir, records)
        return without_folders(text, *(str(path.absolute()) for path in known if path is not None))

    def records(self, limit: int = 50, source: str | None = None) -> list[Record]:
        """Return the latest verdicts, newest first; of one source, or of all."""
        newest = reversed(self.telling.records.copy())
        chosen = [record for record in newest if source in (None, record["source_name"])]
        return chosen[:limit]

    def subscribe(self, size: int = 256) -> Subscription:
        """Return a bounded queue of what happens from now on."""
        return self.hub.subscribe(size)

    def add_wire(self, wire: Wire) -> None:
        """Start a wire; every verdict, and every source's state, goes to it from now on."""
        expect = partial(self._expected_by, wire.name)
        self.wiring.add(wire, Commands(self.trigger, expect, self._reset_by))
        self.wiring.counts(self.tally.document())
        for line in self._lines.values():
            self.wiring.state(line.name, line.status())

    def freeze(self, source: str) -> Capture:
        """Keep a source's latest frame, to be registered.

        Raises:
            StationError: If there is no such source, or it shows nothing now.
        """
        line = self.line(source)
        frame, age = line.latest, line.age_ms
        if frame is None or (line.is_camera and (age or 0.0) > line.settings.max_age_ms):
            raise NoFrameError(
                f"source {source!r} shows nothing now (it is {line.state})",
                fix="check its cable, power and network",
            )
        return self.captures.add(frame.image, frame.source, locator=line.locator)

    def burst(self, source: str, seconds: float) -> Capture:
        """Keep sharp, different views of a part that is turned before a source, to be registered.

        Raises:
            StationError: If there is no such source, it shows nothing now, or a burst of it is
                under way: each holds a thread for its seconds, and many frames.
            RegistrationError: If nothing of it can be registered.
        """
        line = self.line(source)
        if not line.bursting.acquire(blocking=False):
            raise BusyError(f"a burst of {source!r} is under way", fix="wait for its end")
        try:
            first, *others = take_burst(line, seconds, self.products.model, lambda: self.closed)
        finally:
            line.bursting.release()
        return self.captures.add(
            first.image, first.source, locator=line.locator, others=[o.image for o in others]
        )

    def switch(
        self, bundle: Path | str, author: str | None = None, *, allow_older: bool = False
    ) -> None:
        """Go over to another bundle between two verdicts, with the gallery embedded anew.

        The former bundle is remembered, also over a restart; `undo_switch` returns to it.

        Args:
            bundle: The bundle's folder.
            author: Who does it.
            allow_older: Take one that is older than what was taken here.

        Raises:
            VisionEdgeError: If the bundle is not fit; the former goes on.
        """
        who, older = author or "station", allow_older
        _started(self._bundles).switch(self.products, bundle, who, allow_older=older)

    def undo_switch(self, author: str | None = None) -> None:
        """Return to the bundle before the last switch.

        Raises:
            VisionEdgeError: If there is none, or it is not fit any more.
        """
        _started(self._bundles).undo(self.products, author or "station")

    def trigger(self, source: str | None = None) -> None:
        """Judge a part now, at one source or at all that are judged on command.

        Raises:
            NotThereError: If there is no such source.
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
        refused = [error for line in lines if (error := _refused(line.trigger)) is not None]
        if refused:  # a camera that is away keeps no other from being judged
            raise refused[0]

    def expect(
        self, source: str, product: str | None, by: str, *, unregistered: bool = False
    ) -> Expected:
        """Have a source show a product from now on; None to identify every part.

        Args:
            source: The source's name.
            product: The product.
            by: Who says so.
            unregistered: Whether a product that is not registered is taken all the same.

        Raises:
            NotThereError: If there is no such source.
            ExpectationError: If the product is not registered, or it cannot be kept.
        """
        name = self.line(source).name
        return self.expectations.set(name, product, by, unregistered=unregistered)

    def _expected_by(self, wire: str, source: str, product: str | None, unregistered: bool) -> None:
        """Do what a wire says, and write it down."""
        what, told = f"expect {source[:40]}", {"label": product and product[:200]}
        try:
            now = self.expect(source, product, wire, unregistered=unregistered)
        except VisionEdgeError as error:
            self.audit.write(wire, what, "refused", deed=False, why=error.what, **told)
            raise
        self.audit.write(wire, what, "ok", deed=True, problem=now.problem, **told)

    def reset_counts(self, who: str) -> None:
        """Begin to count parts anew; the total stays.

        Args:
            who: Who wants it.

        Raises:
            VisionEdgeError: If it cannot be written.
        """
        self.tally.reset(who)
        self._counts_told(self.tally.document())

    def _reset_by(self, wire: str) -> None:
        """Reset counts for a wire, whose deeds nobody else notes."""
        self.reset_counts(wire)
        self.audit.write(wire, "reset counts", "done", deed=True)

    def ask(self, source: str) -> Answer:
        """Judge a part now, and wait for the answer, as long as the source's `answer_within` says.

        Raises:
            NotThereError: If there is no such source.
            VisionEdgeError: If it is not judged on command.
        """
        answer = self.line(source).trigger().wait()
        if answer is None:
            raise NoFrameError(f"source {source!r} has not answered", fix="see the log")
        return answer

    def acknowledge(self, source: str) -> None:
        """Take a source's scene of now for the right one.

        Raises:
            NotThereError: If there is no such source.
        """
        self.line(source).guard.acknowledge()

    def line(self, source: str) -> Line:
        """Return the line of a source.

        Raises:
            NotThereError: If there is none of that name.
        """
        if source not in self._lines:
            raise NotThereError(
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
        with self.products.changing(author) as gallery:
            yield gallery

    def gallery_changed(self) -> None:
        """Classify with the gallery as it is now, at once.

        Raises:
            GalleryError: If it cannot be read.
        """
        self.products.refresh()

    def _counts_told(self, document: Record) -> None:
        self.hub.publish("counts", document)
        self.wiring.counts(document)

    def take_empty(self, source: str, author: str) -> None:
        """Take a source's latest frame as the picture of its scene empty.

        Raises:
            StationError: If there is no such source, or it shows nothing now.
        """
        line = self.line(source)
        line.scene.take_empty(self._whole(line).image, author)

    def set_roi(self, source: str, roi: Roi | None) -> None:
        """Set a source's region of interest; None returns to the settings'.

        Raises:
            StationError: If there is no such source, or it shows nothing now.
            CropError: If the region is not inside its picture.
        """
        line = self.line(source)
        image = self._whole(line).image
        line.scene.set_roi(roi, (image.shape[1], image.shape[0]))

    def _whole(self, line: Line) -> Frame:
        frame = line.whole
        if frame is None:
            raise NoFrameError(
                f"source {line.name!r} shows nothing yet (it is {line.state})",
                fix="check its cable, power and network",
            )
        return frame

    def _review_told(self, pending: int) -> None:
        self.hub.publish("review", {"pending": pending})


def _notes(server: ServerSettings, products: Products) -> Iterator[str]:
    """Yield what a person should know."""
    if products.problem:
        yield products.problem
    if products.count == 0:
        yield "no product is registered yet: everything is unknown"
    if not server.loopback and not server.tls:
        yield "passwords and pictures pass the network unencrypted: set tls_cert and tls_key"


def _refused(do: Callable[[], object]) -> VisionEdgeError | None:
    """Do something; return why it cannot be."""
    try:
        do()
    except VisionEdgeError as error:
        return error
    return None


def _started(part: T | None) -> T:
    if part is None:
        raise VisionEdgeError("the station is not started", fix="wait until /readyz says so")
    return part
