"""A line in memory: a broker that keeps and delivers like a real one, stations and clocks."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from support.runtime import picture
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image, encode_jpeg
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits, LineGallery
from vision_edge.station.fleet.shared_gallery.sync import Access, LineSync

MODEL = ModelIdentity("a" * 64, 4)
START = 1_800_000_000.0


@lru_cache(maxsize=64)
def jpeg(number: int) -> bytes:
    """Return picture `number` as a JPEG."""
    return encode_jpeg(picture(number))


def embed(jpeg: bytes, origin: str) -> Snapshot:
    """Return a snapshot whose embedding depends on the picture."""
    digest = hashlib.sha256(decode_image(jpeg, origin or "a picture").tobytes()).digest()
    return Snapshot(jpeg, np.frombuffer(digest[:4], np.uint8).astype(np.float32), origin)


def snapshot(number: int) -> Snapshot:
    """Return picture `number` as a snapshot."""
    return Snapshot(jpeg(number), np.full(4, number, np.float32), f"shot {number}")


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = START


class MemoryBroker:
    """Keeps retained messages, and delivers in order to who is connected."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.members: list[Member] = []
        self.sent = 0

    def publish(self, topic: str, payload: bytes, retain: bool) -> None:
        self.sent += 1
        if retain and payload:
            self.kept[topic] = payload
        elif retain:
            self.kept.pop(topic, None)
        for member in self.members:
            if any(_matches(pattern, topic) for pattern in member.topics):
                member.inbox.append((topic, payload))


class Member:
    """A station on the broker."""

    def __init__(
        self,
        broker: MemoryBroker,
        clock: Clock,
        path: Path,
        name: str,
        limits: Limits | None = None,
        model: ModelIdentity = MODEL,
    ) -> None:
        self.broker, self.clock, self.path, self.name, self.model = broker, clock, path, name, model
        self.limits = limits or Limits()
        self.topics: set[str] = set()
        self.inbox: deque[tuple[str, bytes]] = deque()
        self.online, self.skew, self.changes, self.room = False, 0.0, 0, True
        broker.members.append(self)
        with self.gallery():
            pass
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart: only the gallery's file is left."""
        self.disconnect()
        line = LineGallery("hall-1", self.name, self.limits, lambda: round(self.now() * 1000))
        access = Access(self.gallery, embed, self._changed, self.now)
        self.sync = LineSync(self.name, line, access, self, self.limits, seed=len(self.name))

    def now(self) -> float:
        return self.clock.now + self.skew

    @contextmanager
    def gallery(self) -> Iterator[Gallery]:
        with Gallery(self.path, self.model, create=True, author="operator") as opened:
            yield opened

    def _changed(self) -> None:
        self.changes += 1

    def connect(self) -> None:
        if not self.online:
            self.online = True
            self.sync.connected()

    def disconnect(self) -> None:
        if self.online:
            self.online = False
            self.topics.clear()
            self.inbox.clear()
            self.sync.disconnected()

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if self.online:
            self.broker.publish(topic, payload, retain)

    def subscribe(self, topic: str) -> None:
        if self.online:
            self.topics.add(topic)
            kept = [(t, p) for t, p in self.broker.kept.items() if _matches(topic, t)]
            self.inbox.extend(kept)

    def unsubscribe(self, topic: str) -> None:
        self.topics.discard(topic)

    def step(self, messages: int = 1000) -> None:
        for _ in range(min(messages, len(self.inbox))):
            self.sync.receive(*self.inbox.popleft())
        self.sync.tick()

    def products(self) -> dict[str, set[str]]:
        """Return what the gallery holds, pictures by their hashes; `!label` are negatives."""
        with Gallery(self.path) as opened:
            contents, files = opened.contents(), opened.snapshots.files()
        held: dict[str, set[str]] = {}
        for identifier, (kind, label) in contents.places().items():
            name = f"{'' if kind == 'add' else '!'}{label}"
            held.setdefault(name, set()).add(files[identifier].sha256)
        return held

    def authors(self) -> list[str]:
        with Gallery(self.path) as opened:
            return [event.author for event in opened.events()]


def settle(broker: MemoryBroker, clock: Clock, seconds: float = 6.0) -> None:
    """Let time pass."""
    for _ in range(round(seconds / 0.5)):
        clock.now += 0.5
        for member in broker.members:
            member.step()


def _matches(pattern: str, topic: str) -> bool:
    parts, names = pattern.split("/"), topic.split("/")
    return len(parts) == len(names) and all(
        part in ("+", name) for part, name in zip(parts, names, strict=True)
    )
