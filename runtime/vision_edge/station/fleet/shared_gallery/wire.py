"""One gallery for all stations of a line, shared through the MQTT broker they have anyway.

It is a wire to the station, so that its health is shown with the others'; verdicts are not its
business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.snapshot_store import Embed, Snapshot
from vision_edge.runtime.system.backoff import Backoff
from vision_edge.station.core.wire import Commands, Record, WireHealth, WireState
from vision_edge.station.fleet.shared_gallery.broker_link import CONNECTED, INBOX, LineLink, Message
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits, LineGallery
from vision_edge.station.fleet.shared_gallery.seal import LineSeal, seal_of
from vision_edge.station.fleet.shared_gallery.sync import Access, LineSync
from vision_edge.station.settings.fleet import FleetSettings
from vision_edge.station.settings.provenance import ProvenanceSettings
from vision_edge.station.settings.wires import MqttSettings

_LOG = logging.getLogger(__name__)
_DRAIN = 200
_STEADY_S = 10.0
_CLOSE_S = 2.0


class GallerySync:
    """Keeps a station's gallery and its line's the same.

    Args:
        station: The station's name.
        settings: The section `[fleet]`; it names the line.
        mqtt: The section `[mqtt]`.
        access: How to reach the station.
        provenance: The section `[provenance]`: who signs, and whose entries count.

    Raises:
        ProvenanceError: If its key or its trust store cannot be read.
    """

    name = "line"

    def __init__(
        self,
        station: str,
        settings: FleetSettings,
        mqtt: MqttSettings,
        access: Access,
        provenance: ProvenanceSettings | None = None,
    ) -> None:
        self._station, self._settings, self._mqtt = station, settings, mqtt
        self._base = f"{mqtt.topic_prefix}/line/{settings.line}"
        self._seal = seal_of(provenance, self._base) or LineSeal(self._base, None, None)
        self._inbox: Queue[Message] = Queue(INBOX)
        self._link: LineLink | None = None
        self._said: tuple[WireState, str] = ("connecting", "not started")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)
        limits = _limits(settings)
        self._line = LineGallery(
            settings.line or "", station, limits, lambda: round(access.now() * 1000)
        )
        self._sync = LineSync(
            station,
            self._line,
            access,
            self,
            limits,
            max_entries=settings.max_products,
            max_skew_s=settings.max_clock_skew_s,
            opened=self._seal.opened,
        )

    def start(self, commands: Commands) -> None:
        """Start its thread."""
        self._thread.start()

    def verdict(self, record: Record) -> None:
        """Do nothing: products are shared, not verdicts."""

    def health(self) -> WireHealth:
        """Return how the line is doing, at once."""
        state, detail = self._said
        counts, sync = self._sync.counts, self._sync
        notes = [detail]
        if self._line.unshared:
            notes.append(f"{self._line.unshared} pictures too large to share")
        if postponed := list(sync.postponed.values()):
            notes.append(f"changes from the future wait: is {postponed[0].station}'s clock right?")
        if counts["refused"]:
            notes.append(f"{counts['refused']} messages refused, last: {sync.refusal[:200]}")
        return WireHealth(self.name, state, "; ".join(notes), sync.pending, counts["refused"])

    def close(self) -> None:
        """Stop; what was not said yet is said after the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    # What `LineSync` speaks to the broker through

    @property
    def room(self) -> bool:
        """Whether the broker keeps up."""
        return self._link is not None and self._link.room

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish under the line's topics; nothing happens while there is no connection."""
        if self._link is not None:
            self._link.publish(topic, self._seal.sealed(topic, payload), retain=retain)

    def subscribe(self, topic: str) -> None:
        """Subscribe under the line's topics."""
        if self._link is not None:
            self._link.subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Unsubscribe under the line's topics."""
        if self._link is not None:
            self._link.unsubscribe(topic)

    # Its thread

    def _run(self) -> None:
        waits = Backoff()
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._converse()
            except (OSError, ValueError, VisionEdgeError) as error:
                self._say("connecting", f"no connection: {str(error).splitlines()[0]}")
            except Exception:
                _LOG.exception("the line's conversation failed; it begins anew")
                self._say("connecting", "an unforeseen error; see the log")
            finally:
                self._hang_up()
            if time.monotonic() - began > _STEADY_S:
                waits.reset()
            self._stop.wait(waits.pause())

    def _converse(self) -> None:
        """Hold one connection as long as it lasts."""
        self._say("connecting", f"connecting to {self._mqtt.host}:{self._mqtt.real_port}")
        link = self._link = LineLink(self._mqtt, self._station, self._base, self._inbox)
        while not link.ended and not self._stop.is_set():
            self._step(self._messages())
        if link.ended:
            raise OSError(link.ended)

    def _messages(self) -> list[Message]:
        """Wait a little for messages, and return those that are there."""
        found = []
        try:
            found.append(self._inbox.get(timeout=self._settings.poll_s))
            while len(found) < _DRAIN:
                found.append(self._inbox.get_nowait())
        except Empty:
            pass
        return found

    def _step(self, messages: list[Message]) -> None:
        """Take messages, then do what is due; a gallery that cannot be used now is waited for."""
        line = f"line {self._settings.line}"
        for message in messages:
            if message is CONNECTED:
                self._sync.connected()
                self._say("ok", line)
            else:
                self._hear(*message)
        try:
            self._sync.tick()
        except VisionEdgeError as error:  # it is being bound to another model, say
            self._say(self._said[0], f"{line}; the gallery waits: {error.what}")
            self._stop.wait(self._settings.poll_s)
        else:
            if self._said[0] == "ok":
                self._said = ("ok", f"{line}, {len(self._line.entries)} known")

    def _hear(self, topic: str, payload: bytes) -> None:
        with suppress(VisionEdgeError):  # who misses a picture will ask again
            self._sync.receive(topic, payload)

    def _hang_up(self) -> None:
        self._sync.disconnected()
        link, self._link = self._link, None
        if link is not None:
            link.close()
        while not self._inbox.empty():
            self._inbox.get_nowait()

    def _say(self, state: WireState, detail: str) -> None:
        if (state, detail) != self._said:
            _LOG.info("line: %s %s", state, detail)
        self._said = (state, detail)


def gentle(embed: Embed, rest: Callable[[float], object] = time.sleep) -> Embed:
    """Return `embed` with a rest as long as each embedding: verdicts come first.

    A line's first meeting may bring hundreds of pictures.
    """

    def embed_and_rest(jpeg: bytes, origin: str) -> Snapshot:
        began = time.monotonic()
        snapshot = embed(jpeg, origin)
        rest(min(1.0, time.monotonic() - began))
        return snapshot

    return embed_and_rest


def _limits(settings: FleetSettings) -> Limits:
    sizes = (settings.max_snapshot_mb, settings.max_product_mb, settings.max_line_mb)
    picture, product, line = (round(size * 1e6) for size in sizes)
    return Limits(picture, product, line)
