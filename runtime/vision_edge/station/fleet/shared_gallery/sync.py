"""What a station makes of what others say on its line, and of changes here. No thread, no socket.

Entries and pictures are retained messages, so the broker is the line's memory; it keeps what came
last, not what is newest. So whoever knows a newer entry than the broker holds says it again, after
a little while, unless another was quicker; this ends once the broker holds the newest.
Pictures are fetched only by those who lack them, and embedded anew: nothing that comes from
outside is compared with before this station's own model has seen it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from vision_edge.runtime.errors import GalleryError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Embed, Snapshot
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.picture_header import jpeg_size
from vision_edge.station.fleet.shared_gallery.entries import Entry, read_entry
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits, LineGallery
from vision_edge.station.fleet.shared_gallery.picture_fetching import Fetching
from vision_edge.station.fleet.shared_gallery.voice import Outlet, Voice

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


@dataclass(frozen=True)
class Access:
    """How the line reaches the station.

    Attributes:
        gallery: Opens the gallery with the model in use.
        embed: Makes a snapshot of a kept JPEG, by the model in use.
        changed: Called after the gallery was changed.
        now: The time, in seconds since 1970.
    """

    gallery: Callable[[], AbstractContextManager[Gallery]]
    embed: Embed
    changed: Callable[[], None]
    now: Callable[[], float]


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
        opened: Returns what an entry's message under a topic holds, or raises `GalleryError`.
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
        opened: Callable[[str, bytes], bytes] = lambda topic, payload: payload,
    ) -> None:
        self._opened = opened
        self.counts: Counter[str] = Counter()
        self.refusal = ""
        self._line, self._access, self._outlet = line, access, outlet
        self._limits, self._max_entries, self._max_skew_s = limits, max_entries, max_skew_s
        self._voice = Voice(station, line, outlet, limits, seed)
        self._waiting: dict[str, Entry] = {}
        self._postponed: dict[str, Entry] = {}
        self._refused: set[str] = set()
        self._fetching = Fetching(outlet)
        self._seen = ""

    @property
    def published(self) -> int:
        """How many entries were said so far."""
        return self._voice.published

    @property
    def pending(self) -> int:
        """How many entries wait: for pictures, for their time, or to be said."""
        return len(self._waiting) + len(self._postponed) + self._voice.due

    @property
    def postponed(self) -> dict[str, Entry]:
        """Entries dated in the future, by key."""
        return self._postponed

    def connected(self) -> None:
        """Begin a connection: ask for all that the broker holds."""
        self._voice.begin(self._access.now())
        for topic in SUBSCRIPTIONS:
            self._outlet.subscribe(topic)
        self._fetching.restart(self._access.now())

    def disconnected(self) -> None:
        """End a connection; changes go on here, and are told when it is back."""
        self._voice.end()

    def receive(self, topic: str, payload: bytes) -> None:
        """Take one message; what is wrong with it is counted, and changes nothing."""
        match = _TOPIC.fullmatch(topic)
        if match is None:
            self._refuse(f"unknown topic {topic[:100]!r}")
        elif match["entry"]:
            self._take_entry(match["entry"], payload)
        elif match["picture"]:
            self._take_piece(match["picture"], int(match["piece"]), payload)
        else:
            asked_before = payload not in (b"", b"1")
            gallery, now = self._access.gallery, self._access.now()
            self._voice.answer(match["want"], gallery, now, asked_before=asked_before)

    def tick(self) -> None:
        """Do what is due: look for changes here, show those of others, speak."""
        now = self._access.now()
        with self._access.gallery() as gallery:
            self._look(gallery)
            self._start_fetches(gallery, now)
            self._show(gallery)
            self._voice.speak(gallery, self._waiting.values(), now)
        self._wake_postponed(now)

    # What comes in

    def _take_entry(self, key: str, payload: bytes) -> None:
        now = self._access.now()
        if not payload:
            self._voice.heard(key, None, now)
            return
        try:
            entry = read_entry(self._opened(key, payload))
            if entry.key != key:
                raise GalleryError(f"the entry of {entry.key[:20]}… under {key[:20]}…")
        except GalleryError as error:
            self._refuse(error.what)
            self._voice.heard(key, None, now, bad=True)
            return
        self._voice.heard(key, entry, now)
        self._consider(entry)

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
        if gallery.stamp == self._seen:
            return
        changed = self._line.exchange(gallery).changed
        self._note(gallery)
        self.counts["changed"] += len(changed)
        for entry in changed:
            self._voice.news(entry.key, self._access.now(), own=True)

    def _note(self, gallery: Gallery) -> None:
        """Remember what the gallery is after an exchange, unless it was changed again since."""
        with gallery.reading():
            self._seen = gallery.stamp if gallery.version == self._line.seen else ""

    def _start_fetches(self, gallery: Gallery, now: float) -> None:
        if not self._waiting or not self._voice.settled:  # first listen, then work
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
        self._note(gallery)
        self.counts["changed"] += len(result.changed)
        self.counts["applied"] += len(result.applied)
        for entry in (*result.changed, *result.applied):
            self._voice.news(entry.key, self._access.now(), own=entry in result.changed)
        if result.applied:
            self._access.changed()

    def _snapshot(self, jpeg: bytes, origin: str) -> Snapshot:
        if jpeg_size(jpeg) is None:
            raise GalleryError(f"{origin[:100]!r}: a picture that is no JPEG")
        decode_image(jpeg, origin[:100] or "a picture of the line")
        return self._access.embed(jpeg, origin)

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
        self._voice.heard(entry.key, None, self._access.now(), bad=True)
