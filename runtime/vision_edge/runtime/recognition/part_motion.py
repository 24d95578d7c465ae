"""Where parts move: which of the parts in view is which of those seen before.

Parts of a line move alike, so one velocity serves all of them, in pixels a second: it is learned
from parts that overlap themselves from one look to the next, or, where looks are too far apart for
that, from the displacement that most pairs of looks have in common.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.part_consensus import Box

OVERLAP = 0.25
"""Least overlap (intersection over union) of a part with where it is expected."""
NEAR = 0.6
"""Otherwise, most distance of the centres, in longer sides of the part."""
ALIKE = 0.75
"""Least cosine similarity of a part to itself a moment ago, where its place alone does not tell."""
FIRST_NEAR = 2.5
"""The same while no velocity is known: until the first few parts have been seen twice."""
_REMEMBERED = 120
"""Displacements that the common velocity is taken from."""
_SUPPORT = 3
"""Displacements that must agree on it."""
_TOLERANCE = 0.2
"""How far they may differ, as a share of the velocity."""

Velocity = NDArray[np.float64]


@dataclass
class Place:
    """Where a part was last seen, and how it moves.

    Attributes:
        box: Its rectangle.
        time: When, in seconds.
        velocity: Pixels a second, float64 (2,); None while it was seen once.
        likeness: Its latest embedding, float32 (D,), if it was judged.
    """

    box: Box
    time: float
    velocity: Velocity | None = None
    likeness: Embeddings | None = None

    def expected(self, time: float, common: Velocity | None) -> Box | None:
        """Return where it should be at `time`; None where its velocity is not known."""
        velocity = self.velocity if self.velocity is not None else common
        return None if velocity is None else _shifted(self.box, velocity * (time - self.time))

    def seen(self, box: Box, time: float, likeness: Embeddings | None) -> None:
        """Note where it is now; a part that is cut by the border tells nothing of its speed."""
        if time > self.time and _same_size(self.box, box):
            moved = (_centre(box) - _centre(self.box)) / (time - self.time)
            old = self.velocity
            self.velocity = moved if old is None else 0.5 * old + 0.5 * moved
        self.box, self.time = box, time
        self.likeness = self.likeness if likeness is None else likeness


class Flow:
    """The velocity that the parts of a line have in common."""

    def __init__(self) -> None:
        self._moves: deque[Velocity] = deque(maxlen=_REMEMBERED)

    @property
    def velocity(self) -> Velocity | None:
        """Pixels a second, float64 (2,); None until enough displacements agree on it."""
        if len(self._moves) < _SUPPORT:
            return None
        moves = np.array(self._moves)
        distances = np.linalg.norm(moves[:, None] - moves[None], axis=2)
        speeds = np.linalg.norm(moves, axis=1)
        agreeing = distances <= _TOLERANCE * np.maximum(speeds, 1.0)[:, None]
        best = int(agreeing.sum(axis=1).argmax())
        if agreeing[best].sum() < _SUPPORT:
            return None
        found: Velocity = np.median(moves[agreeing[best]], axis=0)
        return found

    def learn(
        self,
        places: Sequence[Place],
        boxes: Sequence[Box],
        pairs: Mapping[int, int],
        time: float,
    ) -> None:
        """Note displacements from places to boxes: of the pairs, or of all where there is none.

        Args:
            places: Where parts were.
            boxes: Where parts are.
            pairs: Box index to place index, where a part is known again.
            time: Of the boxes, in seconds.
        """
        sure = [(places[i], boxes[k]) for k, i in pairs.items()]
        for place, box in sure or [(place, box) for place in places for box in boxes]:
            if time > place.time and _same_size(place.box, box):
                self._moves.append((_centre(box) - _centre(place.box)) / (time - place.time))


def matched(
    places: Sequence[Place],
    boxes: Sequence[Box],
    likenesses: Sequence[Embeddings | None],
    time: float,
    common: Velocity | None,
    size: tuple[int, int],
) -> dict[int, int]:
    """Say which box is which place's part: box index to place index, each used once.

    The surest pairs first: those that overlap where the part is expected, then those near it that
    look alike; and where nothing is known of its velocity, those that overlap.

    Args:
        places: Where parts were, and how they move.
        boxes: Where parts are.
        likenesses: By box, float32 (D,) of the part, or None.
        time: Of the boxes, in seconds.
        common: The line's velocity, if it is known.
        size: The picture's (width, height), which cuts what is expected.
    """
    pairs = [
        (sure, i, k)
        for i, place in enumerate(places)
        for k, box in enumerate(boxes)
        if (sure := _sureness(place, box, likenesses[k], time, common, size)) > 0
    ]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, k in sorted(pairs, reverse=True):
        if k not in found and i not in taken:
            found[k] = i
            taken.add(i)
    return found


def _sureness(
    place: Place,
    box: Box,
    likeness: Embeddings | None,
    time: float,
    common: Velocity | None,
    size: tuple[int, int],
) -> float:
    """Return how sure it is that `box` is the part of `place`; 0 where it is not."""
    expected = place.expected(time, common)
    alike = _cosine(place.likeness, likeness)
    if expected is None:
        return _first_sureness(place, box, alike, size)
    overlap = iou(_clipped(expected, size), box)
    if overlap >= OVERLAP:
        return 2.0 + overlap
    side = max(box[2] - box[0], box[3] - box[1], place.box[2] - place.box[0], 1)
    distance = float(np.linalg.norm(_centre(expected) - _centre(box))) / side
    looks_alike = alike is None or alike >= ALIKE
    return 1.0 + (NEAR - distance) if distance <= NEAR and looks_alike else 0.0


def _first_sureness(place: Place, box: Box, alike: float | None, size: tuple[int, int]) -> float:
    """The same before anything is known of how parts move."""
    overlap = iou(place.box, box)
    if overlap >= OVERLAP:
        return 2.0 + overlap
    side = max(box[2] - box[0], box[3] - box[1], 1)
    distance = float(np.linalg.norm(_centre(place.box) - _centre(box))) / side
    grows = _at_border(place.box, size) or _at_border(box, size)
    fits = distance <= FIRST_NEAR and (grows or _same_size(place.box, box))
    looks_alike = grows if alike is None else alike >= ALIKE
    return (alike or ALIKE) - distance / 10 if fits and looks_alike else 0.0


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / max(both - common, 1)


def outside(box: Box, size: tuple[int, int]) -> bool:
    """Whether nothing of a box lies inside a picture of (width, height)."""
    return box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    return max(0, box[0]), max(0, box[1]), min(size[0], box[2]), min(size[1], box[3])


def _at_border(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box is cut by the picture's border, or may be."""
    slack = 0.02 * min(size)
    return min(box[0], box[1]) <= slack or box[2] >= size[0] - slack or box[3] >= size[1] - slack


def _same_size(a: Box, b: Box) -> bool:
    sides = [(q[2] - q[0], q[3] - q[1]) for q in (a, b)]
    return all(0.8 <= (x + 1) / (y + 1) <= 1.25 for x, y in zip(*sides, strict=True))


def _centre(box: Box) -> Velocity:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def _shifted(box: Box, by: Velocity) -> Box:
    x, y = round(float(by[0])), round(float(by[1]))
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _cosine(a: Embeddings | None, b: Embeddings | None) -> float | None:
    if a is None or b is None:
        return None
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
