"""Fetching pictures that entries speak of: a few entries at a time, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vision_edge.station.fleet.shared_gallery.entries import Entry, Picture
from vision_edge.station.fleet.shared_gallery.picture_pieces import Assembly

AT_A_TIME, LOOK_AHEAD = 3, 200
"""Entries whose pictures are fetched at once, out of so many that wait."""
PATIENCE_S, CALLS = 2.0, 3
"""After so long without a piece the picture is called for, so often; then others go first."""
REST_S, MAX_REST_S = 5.0, 300.0


class Subscriber(Protocol):
    """What fetching needs of the line's broker."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Send a message."""

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's messages."""

    def unsubscribe(self, topic: str) -> None:
        """Ask for them no more."""


@dataclass
class _Fetch:
    entry: Entry
    missing: dict[str, Assembly]
    progress: float
    calls: int = 0
    jpegs: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass
class _Rest:
    until: float
    seconds: float


class Fetching:
    """Which entries' pictures are being fetched.

    Args:
        broker: Where they come from.
    """

    def __init__(self, broker: Subscriber) -> None:
        self._broker = broker
        self._active: dict[str, _Fetch] = {}
        self._resting: dict[str, _Rest] = {}

    def choose(self, waiting: Mapping[str, Entry], now: float) -> Iterator[Entry]:
        """Yield entries to begin with, as long as there is room; forget what waits no more."""
        for key, fetch in list(self._active.items()):
            if waiting.get(key) is not fetch.entry:
                self.done(key)
        self._resting = {key: rest for key, rest in self._resting.items() if key in waiting}
        for key, entry in list(waiting.items())[:LOOK_AHEAD]:
            rest = self._resting.get(key)
            if key in self._active or (rest is not None and now < rest.until):
                continue
            if sum(bool(fetch.missing) for fetch in self._active.values()) >= AT_A_TIME:
                return
            yield entry

    def start(self, entry: Entry, missing: Iterable[Picture], now: float) -> None:
        """Begin to fetch an entry's missing pictures; with none it is complete at once."""
        fetch = _Fetch(entry, {picture.sha256: Assembly(picture) for picture in missing}, now)
        self._active[entry.key] = fetch
        for sha256 in fetch.missing:
            self._broker.subscribe(_topic(sha256))

    def restart(self, now: float) -> None:
        """Ask again for everything, on a new connection."""
        self._resting.clear()
        for fetch in self._active.values():
            fetch.progress, fetch.calls = now, 0
            for sha256 in fetch.missing:
                self._broker.subscribe(_topic(sha256))

    def take(self, sha256: str, number: int, piece: bytes, now: float) -> bool:
        """Take a piece of a picture; return False for one that is of no picture awaited.

        Pieces that come late, after the picture was complete, are no fault.
        """
        sound = True
        for fetch in self._active.values():
            assembly = fetch.missing.get(sha256)
            if assembly is None:
                continue
            sound = assembly.take(number, piece) and sound
            jpeg = assembly.jpeg() if sound else None
            fetch.progress = now if sound else fetch.progress
            if jpeg is not None:
                fetch.jpegs.append((jpeg, assembly.picture.origin))
                del fetch.missing[sha256]
                self._leave(sha256)
        return sound

    def remind(self, now: float) -> None:
        """Call for pictures that do not come; after a few calls let others go first."""
        for key, fetch in list(self._active.items()):
            if not fetch.missing or now < fetch.progress + PATIENCE_S:
                continue
            if fetch.calls >= CALLS:
                self._put_aside(key, now)
                continue
            fetch.calls, fetch.progress = fetch.calls + 1, now
            for sha256 in fetch.missing:
                self._broker.publish(f"want/{sha256}", b"%d" % fetch.calls, retain=False)

    def complete(
        self, waiting: Mapping[str, Entry], limit: int
    ) -> list[tuple[Entry, list[tuple[bytes, str]]]]:
        """Return entries of which every picture is there, with the pictures that were fetched."""
        found = [
            (fetch.entry, fetch.jpegs)
            for key, fetch in self._active.items()
            if not fetch.missing and waiting.get(key) is fetch.entry
        ]
        return found[:limit]

    def done(self, key: str) -> None:
        """Forget an entry's pictures."""
        fetch = self._active.pop(key, None)
        self._resting.pop(key, None)
        for sha256 in () if fetch is None else fetch.missing:
            self._leave(sha256)

    def _put_aside(self, key: str, now: float) -> None:
        rest = self._resting.get(key, _Rest(0.0, REST_S / 2))
        seconds = min(2 * rest.seconds, MAX_REST_S)
        self.done(key)
        self._resting[key] = _Rest(now + seconds, seconds)

    def _leave(self, sha256: str) -> None:
        if not any(sha256 in fetch.missing for fetch in self._active.values()):
            self._broker.unsubscribe(_topic(sha256))


def _topic(sha256: str) -> str:
    return f"picture/{sha256}/+"
