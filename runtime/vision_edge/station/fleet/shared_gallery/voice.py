"""What a station says on its line, and when: what the broker lacks, and what it holds wrongly."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.station.fleet.shared_gallery.entries import Entry
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits, LineGallery
from vision_edge.station.fleet.shared_gallery.picture_pieces import piece_count, pieces_of

SETTLE_S, SETTLE_LIMIT_S = 1.0, 15.0
"""The line is known when the broker has been quiet for so long, or was heard for so long."""
JITTER_S = 0.5
AT_A_TIME = 20
ANSWER_S = 2.0
"""A picture that someone misses is sent no more often than this."""


class Outlet(Protocol):
    """The line's broker, as a station speaks to it; topics are those under the line's."""

    @property
    def room(self) -> bool:
        """Whether the broker keeps up with what is sent."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send a message; an empty one that is retained takes the kept one away."""

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's messages, kept and coming."""

    def unsubscribe(self, topic: str) -> None:
        """Ask for them no more."""


@dataclass
class _Broker:
    """What is known of the broker during one connection.

    Attributes:
        began: When the connection was made.
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

    began: float
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


class Voice:
    """Says what a station knows better than the broker.

    Args:
        station: The station's name.
        line: Its share of the line.
        outlet: The broker.
        limits: What is never sent.
        seed: Of the small delays that keep stations from all speaking at once.
    """

    def __init__(
        self, station: str, line: LineGallery, outlet: Outlet, limits: Limits, seed: int | None
    ) -> None:
        self.published = 0
        self._station, self._line, self._outlet, self._limits = station, line, outlet, limits
        self._salt = secrets.token_hex(4) if seed is None else str(seed)
        self._broker: _Broker | None = None

    @property
    def settled(self) -> bool:
        """Whether there is a connection, and what the broker holds is known."""
        return self._broker is not None and self._broker.settled

    @property
    def due(self) -> int:
        """How many entries are to be said."""
        return 0 if self._broker is None else len(self._broker.due)

    def begin(self, now: float) -> None:
        """Begin a connection, of which nothing is known yet."""
        self._broker = _Broker(now, now)

    def end(self) -> None:
        """End a connection."""
        self._broker = None

    def heard(self, key: str, entry: Entry | None, now: float, *, bad: bool = False) -> None:
        """Note what the broker holds under a key: an entry, nothing, or what was refused."""
        if self._broker is not None:
            self._broker.quiet_since = now
            self._broker.hold(key, entry, bad=bad)
            self._compare(self._broker, key, now, JITTER_S)

    def news(self, key: str, now: float, *, own: bool) -> None:
        """Say a key if the broker must know: one's own changes at once, others' only in need."""
        if self._broker is not None:
            self._compare(self._broker, key, now, 0.0 if own else JITTER_S)

    def _compare(self, broker: _Broker, key: str, now: float, delay: float) -> None:
        """Plan to say an entry again if the broker holds none, an older or an unsound one."""
        mine, held = self._line.entries.get(key), broker.held.get(key)
        if mine is None or not broker.settled:
            return
        if key in broker.bad and key in broker.put_right:
            return
        if held is not None and held.order >= mine.order:
            broker.due.pop(key, None)
            return
        at = now + delay * self._share(mine)
        broker.due[key] = min(at, broker.due.get(key, at))

    def speak(self, gallery: Gallery, awaited: Iterable[Entry], now: float) -> None:
        """Say what is due, as long as the broker keeps up.

        Args:
            gallery: Where the pictures are.
            awaited: Entries that wait to be shown: their pictures must stay on the broker.
            now: The time, in seconds.
        """
        broker = self._broker
        if broker is None:
            return
        self._settle(broker, now)
        due = [(at, key) for key, at in broker.due.items() if at <= now]
        due.sort(key=lambda pair: (pair[0], not self._line.entries[pair[1]].pictures))
        for _, key in due[:AT_A_TIME]:
            if not self._outlet.room:
                return
            del broker.due[key]
            self._say(broker, gallery, self._line.entries[key], awaited)

    def _settle(self, broker: _Broker, now: float) -> None:
        """Once the broker has told all that it holds, plan to tell it what it lacks."""
        quiet, heard = now - broker.quiet_since, now - broker.began
        if broker.settled or (quiet < SETTLE_S and heard < SETTLE_LIMIT_S):
            return
        broker.settled = True
        for key in self._line.entries:
            self._compare(broker, key, now, JITTER_S)

    def _share(self, entry: Entry) -> float:
        """Return which share of a delay an entry waits: one for all that was changed at once.

        What a rename makes is said together, the new name first, so that nobody sees neither.
        """
        change = f"{self._salt} {entry.station} {entry.clock.ms}"
        return random.Random(change).random()  # noqa: S311 - it spreads messages in time

    def _say(
        self, broker: _Broker, gallery: Gallery, entry: Entry, awaited: Iterable[Entry]
    ) -> None:
        """Publish what the broker lacks of an entry's pictures, the entry, and clear what is left.

        Pictures come first: who reads the entry finds them there.
        """
        former = broker.held.get(entry.key)
        for picture in entry.pictures:
            if broker.pictures[picture.sha256] <= 0:
                self._send_picture(gallery, picture.sha256)
        self._outlet.publish(entry.key, entry.to_bytes(), retain=True)
        self.published += 1
        if entry.key in broker.bad:
            broker.put_right.add(entry.key)
        broker.hold(entry.key, entry)
        if former is not None:
            self._clear_left(broker, former, awaited)

    def _clear_left(self, broker: _Broker, former: Entry, awaited: Iterable[Entry]) -> None:
        """Take pictures off the broker that no entry speaks of any more."""
        left = [picture for picture in former.pictures if broker.pictures[picture.sha256] <= 0]
        if not left:
            return
        entries = (*self._line.entries.values(), *awaited)
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

    def answer(
        self,
        sha256: str,
        gallery: Callable[[], AbstractContextManager[Gallery]],
        now: float,
        *,
        asked_before: bool,
    ) -> None:
        """Send a picture that someone misses: its author at the first call, anyone later.

        Args:
            sha256: The picture; one that no entry speaks of is nobody's business.
            gallery: Opens the gallery.
            now: The time, in seconds.
            asked_before: Whether the first call went unheard.
        """
        broker = self._broker
        if broker is None or broker.pictures.get(sha256, 0) <= 0:
            return
        if now - broker.answered.get(sha256, -1e9) < ANSWER_S:
            return
        if not asked_before and not self._is_mine(sha256):
            return
        broker.answered[sha256] = now
        with gallery() as opened:
            self._send_picture(opened, sha256)

    def _is_mine(self, sha256: str) -> bool:
        """Whether an entry of this station's speaks of a picture."""
        return any(
            entry.station == self._station and any(p.sha256 == sha256 for p in entry.pictures)
            for entry in self._line.entries.values()
        )
