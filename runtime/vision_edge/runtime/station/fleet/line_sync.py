"""What a station says on its line, and what it makes of what others say. No thread, no socket.

Entries and pictures are retained messages, so the broker is the line's memory; it keeps what came
last, not what is newest. So whoever knows a newer entry than the broker holds says it again, after
a little while, unless another was quicker; this ends once the broker holds the newest.
Pictures are fetched only by those who lack them, and embedded anew: nothing that comes from
outside is compared with before this station's own model has seen it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.errors import GalleryError, VisionEdgeError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.preprocess import Image, decode_image, jpeg_size
from vision_edge.runtime.snapshots import Snapshot
from vision_edge.runtime.station.fleet.entries import Entry, read_entry
from vision_edge.runtime.station.fleet.fetching import Fetching
from vision_edge.runtime.station.fleet.line_gallery import Limits, LineGallery
from vision_edge.runtime.station.fleet.pictures import piece_count, pieces_of

SETTLE_S = 1.0
"""The line is known when the broker has been quiet for so long after a subscription."""
JITTER_S = 0.5
BATCH = 20
"""Entries shown in one transaction: a gallery's writers wait for no more."""
CLOCK_SET_S = 1_735_689_600.0
"""2025-01-01: a clock before that was never set, and says nothing of what is in the future."""
FAR_S = 86_400.0
"""An entry so far in the future is refused; a nearer one waits until its time has come."""
_TOPIC = re.compile(
    r"(?P<entry>(?:product/[0-9a-f]{32}|negative/[0-9a-f]{64}))"
    r"|picture/(?P<picture>[0-9a-f]{64})/(?P<piece>\d{1,5})"
    r"|want/(?P<want>[0-9a-f]{64})"
)
SUBSCRIPTIONS = ("product/+", "negative/+", "want/+")


class Outlet(Protocol):
    """The line's broker, as a station speaks to it; topics are those under the line's."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send a message; an empty one that is retained takes the kept one away."""

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's messages, kept and coming."""

    def unsubscribe(self, topic: str) -> None:
        """Ask for them no more."""


@dataclass(frozen=True)
class Access:
    """How the line reaches the station.

    Attributes:
        gallery: Opens the gallery with the model in use.
        embed: Turns an image, uint8 (H, W, 3) BGR, into float32 (D,), by the model in use.
        changed: Called after the gallery was changed.
        now: The time, in seconds since 1970.
    """

    gallery: Callable[[], AbstractContextManager[Gallery]]
    embed: Callable[[Image], Embeddings]
    changed: Callable[[], None]
    now: Callable[[], float]


@dataclass
class _Broker:
    """What is known of the broker during one connection.

    Attributes:
        quiet_since: When it last sent an entry.
        settled: Whether it has sent all that it holds.
        held: The entries that it holds.
        pictures: How many of these speak of each picture.
        bad: Keys under which it holds what was refused.
        put_right: Such keys that were published anew; once only, or two stations of different
            limits would go on for ever.
        due: When to publish a key.
        answered: When a picture was last sent to who missed it.
    """

    quiet_since: float
    settled: bool = False
    held: dict[str, Entry] = field(default_factory=dict)
    pictures: Counter[str] = field(default_factory=Counter)
    bad: set[str] = field(default_factory=set)
    put_right: set[str] = field(default_factory=set)
    due: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)

    def hold(self, key: str, entry: Entry | None, *, bad: bool = False) -> None:
        """Note what it holds under a key: an entry, nothing, or what was refused."""
        former = self.held.pop(key, None)
        self.pictures.subtract(p.sha256 for p in (() if former is None else former.pictures))
        self.bad.discard(key)
        if bad:
            self.bad.add(key)
        if entry is not None:
            self.held[key] = entry
            self.pictures.update(picture.sha256 for picture in entry.pictures)


class LineSync:
    """One station on its line; all calls come from one thread.

    Args:
        station: The station's name.
        line: Its share of the line, in its gallery.
        access: How to reach the station.
        outlet: How to reach the broker.
        limits: What is refused.
        max_entries: Most keys that the line may have.
        max_skew_s: A change dated so far in the future waits until its time has come.
        seed: Of the small delays that keep stations from all speaking at once.
    """

    def __init__(
        self,
        station: str,
        line: LineGallery,
        access: Access,
        outlet: Outlet,
        limits: Limits,
        *,
        max_entries: int = 5000,
        max_skew_s: float = 600.0,
        seed: int | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        self._station, self._line, self._access, self._outlet = station, line, access, outlet
        self._limits, self._max_entries, self._max_skew_s = limits, max_entries, max_skew_s
        self._random = random.Random(seed)  # noqa: S311 - it spreads messages in time
        self._broker: _Broker | None = None
        self._waiting: dict[str, Entry] = {}
        self._postponed: dict[str, Entry] = {}
        self._refused: set[str] = set()
        self._fetching = Fetching(outlet)
        self._version: tuple[str, int] | None = None

    @property
    def pending(self) -> int:
        """How many entries wait: for pictures, for their time, or to be said."""
        due = 0 if self._broker is None else len(self._broker.due)
        return len(self._waiting) + len(self._postponed) + due

    @property
    def postponed(self) -> dict[str, Entry]:
        """Entries dated in the future, by key."""
        return self._postponed

    def connected(self) -> None:
        """Begin a connection: ask for all that the broker holds."""
        self._broker = _Broker(self._access.now())
        for topic in SUBSCRIPTIONS:
            self._outlet.subscribe(topic)
        self._fetching.restart(self._access.now())

    def disconnected(self) -> None:
        """End a connection; changes go on here, and are told when it is back."""
        self._broker = None

    def receive(self, topic: str, payload: bytes) -> None:
        """Take one message; what is wrong with it is counted, and changes nothing."""
        broker, match = self._broker, _TOPIC.fullmatch(topic)
        if broker is None:
            return
        if match is None:
            self._refuse(f"unknown topic {topic[:100]!r}")
        elif match["entry"]:
            broker.quiet_since = self._access.now()
            self._take_entry(broker, match["entry"], payload)
        elif match["picture"]:
            self._take_piece(match["picture"], int(match["piece"]), payload)
        else:
            self._answer(broker, match["want"], payload)

    def tick(self) -> None:
        """Do what is due: look for changes here, show those of others, speak."""
        now = self._access.now()
        with self._access.gallery() as gallery:
            self._look(gallery)
            self._start_fetches(gallery, now)
            self._show(gallery)
            if self._broker is not None:
                self._speak(self._broker, gallery, now)
        self._wake_postponed(now)

    # What comes in

    def _take_entry(self, broker: _Broker, key: str, payload: bytes) -> None:
        if not payload:
            broker.hold(key, None)
            self._compare(broker, key)
            return
        try:
            entry = read_entry(payload)
            if entry.key != key:
                raise GalleryError(f"the entry of {entry.key[:20]}… under {key[:20]}…")
        except GalleryError as error:
            broker.hold(key, None, bad=True)
            self._refuse(error.what)
            self._compare(broker, key)
            return
        broker.hold(key, entry)
        self._consider(entry)
        self._compare(broker, key)

    def _consider(self, entry: Entry) -> None:
        """Let an entry wait for its pictures or its time, if it is news."""
        key, early = entry.key, self._early_by(entry)
        known = (self._line.entries.get(key), self._waiting.get(key), self._postponed.get(key))
        if any(other is not None and other.order >= entry.order for other in known):
            return
        others = self._line.entries.keys() | self._waiting.keys() | self._postponed.keys()
        if entry.order[-1] in self._refused:
            self._refuse(self.refusal, entry)
        elif key not in others and len(others) >= self._max_entries:
            self._refuse(f"more than {self._max_entries} products", entry)
        elif early > FAR_S:
            self._refuse(f"station {entry.station!r} is {early / 86400:.0f} days ahead", entry)
        elif early > 0:
            self._postponed[key] = entry
            self.counts["postponed"] += 1
        else:
            self._waiting[key] = entry
            self._postponed.pop(key, None)

    def _early_by(self, entry: Entry) -> float:
        """Return how many seconds too far in the future an entry is dated."""
        now, dated = self._access.now(), entry.clock.ms / 1000
        if now < CLOCK_SET_S <= dated:
            return 1.0
        return dated - now - self._max_skew_s

    def _wake_postponed(self, now: float) -> None:
        for key, entry in list(self._postponed.items()):
            if self._early_by(entry) <= 0:
                del self._postponed[key]
                self._consider(entry)

    def _take_piece(self, sha256: str, number: int, payload: bytes) -> None:
        if payload and not self._fetching.take(sha256, number, payload, self._access.now()):
            self._refuse(f"a piece that is not of picture {sha256[:12]}…")

    # What is shown

    def _look(self, gallery: Gallery) -> None:
        """Make entries of what was changed here since the last look."""
        version = (str(gallery.path), gallery.version)
        if version == self._version:
            return
        changed = self._line.exchange(gallery).changed
        self._version = (str(gallery.path), gallery.version)
        self.counts["changed"] += len(changed)
        for entry in changed:
            self._news(entry.key, at_once=True)

    def _start_fetches(self, gallery: Gallery, now: float) -> None:
        if not self._waiting:
            return
        total = sum(entry.size for entry in self._line.entries.values())
        for entry in self._fetching.choose(self._waiting, now):
            known = self._line.entries.get(entry.key)
            if known is not None and known.order >= entry.order:
                del self._waiting[entry.key]
                continue
            growth = entry.size - (0 if known is None else known.size)
            if wrong := self._too_large(entry, total + growth):
                self._refuse(wrong, entry)
                continue
            missing = [p for p in entry.pictures if gallery.snapshots.find(p.sha256) is None]
            self._fetching.start(entry, missing, now)
        if self._broker is not None:
            self._fetching.remind(now)

    def _too_large(self, entry: Entry, total: int) -> str | None:
        if any(picture.bytes > self._limits.picture for picture in entry.pictures):
            return f"a picture of {entry.label!r} is too large"
        if entry.label is not None and entry.size > self._limits.product:
            return f"{entry.label!r} is too large ({entry.size} bytes)"
        if total > self._limits.line:
            return f"the line would grow over {self._limits.line} bytes"
        return None

    def _show(self, gallery: Gallery) -> None:
        """Embed what has come, and change the gallery."""
        complete = self._fetching.complete(self._waiting, BATCH)
        ready: list[Entry] = []
        snapshots: list[Snapshot] = []
        for entry, jpegs in complete:
            try:
                snapshots += [self._snapshot(jpeg, origin) for jpeg, origin in jpegs]
            except VisionEdgeError as error:
                self._refuse(error.what, entry)
                continue
            ready.append(entry)
        if not ready:
            return
        result = self._line.exchange(gallery, ready, snapshots)
        for entry in ready:
            self._waiting.pop(entry.key, None)
            self._fetching.done(entry.key)
        self._version = (str(gallery.path), gallery.version)
        self.counts["changed"] += len(result.changed)
        self.counts["applied"] += len(result.applied)
        for entry in (*result.changed, *result.applied):
            self._news(entry.key, at_once=entry in result.changed)
        if result.applied:
            self._access.changed()

    def _snapshot(self, jpeg: bytes, origin: str) -> Snapshot:
        if jpeg_size(jpeg) is None:
            raise GalleryError(f"{origin[:100]!r}: a picture that is no JPEG")
        image = decode_image(jpeg, origin[:100] or "a picture of the line")
        return Snapshot(jpeg, self._access.embed(image), origin)

    # What is said

    def _news(self, key: str, *, at_once: bool) -> None:
        if self._broker is not None:
            self._compare(self._broker, key, 0.0 if at_once else JITTER_S)

    def _compare(self, broker: _Broker, key: str, delay: float = JITTER_S) -> None:
        """Plan to say an entry again if the broker holds none, an older or an unsound one."""
        mine, held = self._line.entries.get(key), broker.held.get(key)
        if mine is None or not broker.settled:
            return
        if key in broker.bad and key in broker.put_right:
            return
        if held is not None and held.order >= mine.order:
            broker.due.pop(key, None)
            return
        at = self._access.now() + delay * self._random.random()
        broker.due[key] = min(at, broker.due.get(key, at))

    def _speak(self, broker: _Broker, gallery: Gallery, now: float) -> None:
        if not broker.settled and now >= broker.quiet_since + SETTLE_S:
            broker.settled = True
            for key in self._line.entries:
                self._compare(broker, key)
        due = [key for key, at in broker.due.items() if at <= now]
        for key in due[:BATCH]:
            del broker.due[key]
            self._say(broker, gallery, self._line.entries[key])

    def _say(self, broker: _Broker, gallery: Gallery, entry: Entry) -> None:
        """Publish what the broker lacks of an entry's pictures, the entry, and clear what is left.

        Pictures come first: who reads the entry finds them there.
        """
        former = broker.held.get(entry.key)
        for picture in entry.pictures:
            if broker.pictures[picture.sha256] <= 0:
                self._send_picture(gallery, picture.sha256)
        self._outlet.publish(entry.key, entry.to_bytes(), retain=True)
        self.counts["published"] += 1
        if entry.key in broker.bad:
            broker.put_right.add(entry.key)
        broker.hold(entry.key, entry)
        if former is not None:
            self._clear_left(broker, former)

    def _clear_left(self, broker: _Broker, former: Entry) -> None:
        """Take pictures off the broker that no entry speaks of any more."""
        left = [picture for picture in former.pictures if broker.pictures[picture.sha256] <= 0]
        if not left:
            return
        entries = (*self._line.entries.values(), *self._waiting.values())
        used = {picture.sha256 for entry in entries for picture in entry.pictures}
        for picture in left:
            if picture.sha256 not in used and picture.bytes <= self._limits.picture:
                for number in range(piece_count(picture.bytes)):
                    self._outlet.publish(f"picture/{picture.sha256}/{number}", b"", retain=True)

    def _send_picture(self, gallery: Gallery, sha256: str) -> None:
        identifier = gallery.snapshots.find(sha256)
        if identifier is None:
            return
        for number, piece in pieces_of(gallery.snapshots.jpeg(identifier)):
            self._outlet.publish(f"picture/{sha256}/{number}", piece, retain=True)

    def _answer(self, broker: _Broker, sha256: str, payload: bytes) -> None:
        """Send a picture that someone misses: its author at the first call, anyone later."""
        now = self._access.now()
        authors = [
            entry.station
            for entry in self._line.entries.values()
            if any(picture.sha256 == sha256 for picture in entry.pictures)
        ]
        asked_before = payload not in (b"", b"1")
        if not authors or (self._station not in authors and not asked_before):
            return
        if now - broker.answered.get(sha256, -1e9) < 2.0:
            return
        broker.answered[sha256] = now
        with self._access.gallery() as gallery:
            self._send_picture(gallery, sha256)

    def _refuse(self, why: str, entry: Entry | None = None) -> None:
        self.counts["refused"] += 1
        self.refusal = why
        if entry is None:
            return
        if len(self._refused) >= 10_000:
            self._refused.clear()
        self._refused.add(entry.order[-1])
        self._waiting.pop(entry.key, None)
        self._fetching.done(entry.key)
        if self._broker is not None:
            self._broker.hold(entry.key, None, bad=True)
            self._compare(self._broker, entry.key)
