"""Passages: the verdicts in a row that show the same, of which one picture is enough.

A source without a trigger gives a verdict a frame, so a part that passes or rests gives many. Two
frames show the same while their embeddings are alike. Of each passage the stillest picture is kept:
a part that is half in view changes from frame to frame, one that is wholly in view hardly does.

The figures are cosines about the bundle's centre, measured on the rendered belt with the shipped
bundle at 10, 5 and 2.5 frames a second (`benchmarks/passages.py`): frames of one part are
alike by 0.92 and more in the median, those of different parts by at most 0.79, those of the empty
belt by at least 0.93; a part that comes again in another pose by 0.76 to 1.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.station.core.wire import Record

LINK = 0.75
"""A frame this like a passage's stillest belongs to it."""
SAME, NEAR = 0.85, 0.8
"""A picture this like one that was kept shows the same: at any time, or right after it."""
NEAR_SECONDS = 3.0
STILL_SECONDS = 0.25
"""How still a frame is tells the frame before it by so much, or the last one of slower sources."""
STEADY, EDGE, EDGE_SECONDS = 0.92, 0.55, 1.0
"""Less still than this, a passage that is shorter than so many seconds shows a part that comes or
goes; so much like one that was kept right before, it shows the same. What lasts longer is a part
that is never still."""
QUIET_SECONDS = 2.0
"""Without a verdict for so long, a passage is over."""
REST_SECONDS, AGAIN_SECONDS = 2.0, 60.0
"""What stays for so long is kept while it is still there; and is told of again that often."""
REMEMBERED, DISMISSED_SECONDS = 256, 600.0
"""Pictures of each source that later ones are compared with: those that wait, and those that were
dismissed, for so long after the last like them."""

T = TypeVar("T")


def goes_on(record: Record, trigger: str) -> bool:
    """Whether verdicts show what passes frame by frame, rather than one part each.

    Args:
        record: A verdict.
        trigger: Of its source; `interval` cuts what passes by the clock and not by its parts.
    """
    return "part" not in record or trigger == "interval"


def direction(embedding: Embeddings | None, centre: Embeddings) -> Embeddings | None:
    """Return an embedding's direction from the bundle's centre: float32 (D,), of length 1.

    Args:
        embedding: float32 (D,), or None.
        centre: float32 (D,), of the bundle in use; another's embedding has no direction.
    """
    if embedding is None or embedding.shape != centre.shape:
        return None
    vector = np.asarray(embedding - centre, np.float32)
    unit: Embeddings = vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))
    return unit


def likeness(a: Embeddings, b: Embeddings) -> float:
    """Return the cosine of two directions; -1 for those of different models."""
    return float(a @ b) if a.shape == b.shape else -1.0


@dataclass
class _Passage(Generic[T]):
    """What is under way at a source.

    Attributes:
        answer: What breaks it when it changes.
        began: When, in seconds.
        last: Its last frame's time.
        still: How like its stillest frame is to one before, with that frame and what it shows.
        mark: What its first frame is told by.
        told: When its picture was given out last; None if it was not.
        dropped: Whether it is not to be kept.
    """

    answer: object
    began: float
    last: float
    still: tuple[float, Embeddings, T | None]
    mark: str
    told: float | None = None
    dropped: bool = False


@dataclass(frozen=True)
class Given(Generic[T]):
    """What a passage is to be kept by.

    Attributes:
        vector: The picture's direction.
        shown: What was given with its frame; None if the passage is not to be kept.
        answer: What all of its frames had.
        still: How like the picture is to the one before; -1 of a single one.
        began: When the passage began, in seconds.
        at: Until when it is known to last.
        first: Whether the passage gives it for the first time; else it goes on, or is over.
        mark: That of the passage's first frame.
    """

    vector: Embeddings
    shown: T | None
    answer: object
    still: float
    began: float
    at: float
    first: bool
    mark: str = ""

    @property
    def is_edge(self) -> bool:
        """Whether it shows a part that comes or goes."""
        return self.still < STEADY and self.at - self.began < EDGE_SECONDS


class Passages(Generic[T]):
    """Gives one thing a passage, of any number of sources; from any thread."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Passage[T]] = {}
        self._before: dict[str, deque[tuple[float, Embeddings]]] = {}
        self._lock = threading.Lock()

    def look(
        self,
        source: str,
        at: float,
        vector: Embeddings,
        shown: T | None,
        answer: object = None,
        mark: str = "",
    ) -> list[Given[T]]:
        """Take a frame; return what a passage that it ends, or that rests, is to be kept by.

        Args:
            source: Whose frame it is.
            at: When it was captured, in seconds, rising.
            vector: Its `direction`.
            shown: What is kept if it is the stillest; None where the passage is not to be kept.
            answer: Another answer is another passage.
            mark: What the frame is told by, if it is its passage's first.
        """
        with self._lock:
            passage = self._under_way.get(source)
            same = passage is not None and _belongs(passage, at, vector, answer)
            done = [] if passage is None or same else [_given(passage)]
            still = self._stillness(source, at, vector)
            if passage is None or not same:
                passage = _Passage(answer, at, at, (-2.0, vector, shown), mark)
                self._under_way[source] = passage
            if still > passage.still[0]:
                passage.still = (still, vector, shown)
            passage.last = at
            passage.dropped = passage.dropped or shown is None
            since = passage.began if passage.told is None else passage.told
            if at - since >= (REST_SECONDS if passage.told is None else AGAIN_SECONDS):
                done.append(_given(passage))
            return done

    def _stillness(self, source: str, at: float, vector: Embeddings) -> float:
        """Return how like a frame is to one a moment before; -1 for a first one."""
        before = self._before.setdefault(source, deque(maxlen=64))
        before.append((at, vector))
        while len(before) > 2 and at - before[1][0] >= STILL_SECONDS:
            before.popleft()
        then, other = before[0]
        return likeness(vector, other) if 0 < at - then < QUIET_SECONDS else -1.0

    def overdue(self, now: float, quiet: float = QUIET_SECONDS) -> list[tuple[str, Given[T]]]:
        """Return what passages without a frame for `quiet` seconds are kept by, with the source."""
        with self._lock:
            return [
                (source, _given(passage))
                for source, passage in self._under_way.items()
                if now - passage.last >= quiet and passage.told is None
            ]


def _belongs(passage: _Passage[T], at: float, vector: Embeddings, answer: object) -> bool:
    near = at - passage.last < QUIET_SECONDS
    return near and answer == passage.answer and likeness(vector, passage.still[1]) >= LINK


def _given(passage: _Passage[T]) -> Given[T]:
    """Return what a passage is kept by."""
    still, vector, shown = passage.still
    first, passage.told = passage.told is None, passage.last
    shown = None if passage.dropped else shown
    told = (passage.began, passage.last, first, passage.mark)
    return Given(vector, shown, passage.answer, max(-1.0, still), *told)


class Remembered:
    """Which pictures of each source were kept lately, to tell one that shows the same.

    Args:
        seconds: For how long after the last like it a picture is remembered.
    """

    def __init__(self, seconds: float = float("inf")) -> None:
        self._seconds = seconds
        self._kept: dict[str, deque[tuple[str, Embeddings, float]]] = {}
        self._recognised: dict[str, tuple[Embeddings, float]] = {}
        self._dismissed: set[str] = set()
        self._lock = threading.Lock()

    def like(self, source: str, at: float, vector: Embeddings, *, edge: bool = False) -> str | None:
        """Return the identifier of a picture that shows the same, and note when it was seen.

        Args:
            source: Whose picture it is.
            at: When it was seen, in seconds.
            vector: Its `direction`.
            edge: Whether it shows a part that comes or goes; see `Given`.

        Returns:
            The identifier; empty for what was recognised right before; None for what is new.
        """
        near = EDGE if edge else NEAR
        with self._lock:
            known = self._recognised.get(source)
            if known and at - known[1] <= NEAR_SECONDS and likeness(vector, known[0]) >= near:
                return ""
            kept = self._kept.setdefault(source, deque(maxlen=REMEMBERED))
            for entry in reversed(kept):
                identifier, other, last = entry
                dismissed = identifier in self._dismissed
                if at - last > (DISMISSED_SECONDS if dismissed else self._seconds):
                    continue
                if likeness(vector, other) >= (near if at - last <= NEAR_SECONDS else SAME):
                    kept.remove(entry)
                    kept.append((identifier, other, at))
                    return identifier
            return None

    def add(self, source: str, at: float, vector: Embeddings, identifier: str) -> None:
        """Remember a picture that is kept."""
        with self._lock:
            kept = self._kept.setdefault(source, deque(maxlen=REMEMBERED))
            kept.append((identifier, vector, at))

    def recognised(self, source: str, at: float, vector: Embeddings) -> None:
        """Remember what was recognised: its edges, right after it, are no news."""
        with self._lock:
            self._recognised[source] = (vector, at)

    def forget(self, identifiers: set[str]) -> None:
        """Forget pictures: what is like them is kept again."""
        with self._lock:
            self._dismissed -= identifiers
            for source, kept in self._kept.items():
                left = [entry for entry in kept if entry[0] not in identifiers]
                self._kept[source] = deque(left, maxlen=REMEMBERED)

    def dismiss(self, identifiers: set[str]) -> None:
        """Remember pictures that no longer wait only for a while."""
        with self._lock:
            held = {entry[0] for kept in self._kept.values() for entry in kept}
            self._dismissed = (self._dismissed | identifiers) & held
