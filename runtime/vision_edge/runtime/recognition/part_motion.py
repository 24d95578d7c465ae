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
SURE_OVERLAP = 0.5
"""The same while no velocity is known, for a part that looks otherwise than a moment ago."""
NEAR = 0.6
"""Otherwise, most distance of the centres, in longer sides of the part."""
ALIKE = 0.75
"""Least cosine similarity of a part to itself a moment ago, where its place alone does not tell."""
FIRST_NEAR = 2.5
"""The same while no velocity is known: until the first few parts have been seen twice."""
STILL = 0.7
"""Least overlap with where a part was last, to take it for one that has stopped."""
AT_REST = 0.95
"""The same for one that should have left, where nothing else moves."""
_REMEMBERED = 120
"""Displacements that the common velocity is taken from."""
SUPPORT = 3
"""Displacements that must agree on it."""
TOLERANCE = 0.2
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
        return None if velocity is None else shifted(self.box, velocity * (time - self.time))

    def expected_boxes(self, time: float, common: Velocity | None) -> list[Box]:
        """Return where it may be at `time`: by its own velocity, and by the line's."""
        known = [velocity for velocity in (self.velocity, common) if velocity is not None]
        return [shifted(self.box, velocity * (time - self.time)) for velocity in known]

    def seen(
        self, box: Box, time: float, likeness: Embeddings | None, size: tuple[int, int]
    ) -> None:
        """Note where it is now; a part that is cut by the border tells nothing of its speed."""
        if time > self.time and tells_movement(self.box, box, size):
            moved = (centre(box) - centre(self.box)) / (time - self.time)
            old = self.velocity
            self.velocity = moved if old is None else 0.5 * old + 0.5 * moved
        self.box, self.time = box, time
        self.likeness = self.likeness if likeness is None else likeness


class Flow:
    """The velocity that the parts of a line have in common."""

    def __init__(self) -> None:
        self._moves: deque[Velocity] = deque(maxlen=_REMEMBERED)
        self._known: Velocity | None = None
        self._counted = True

    @property
    def velocity(self) -> Velocity | None:
        """Pixels a second, float64 (2,); None until enough displacements agree on it."""
        if not self._counted:
            self._known, self._counted = self._common(), True
        return self._known

    def told(self, velocity: Velocity) -> None:
        """Take a velocity that was found otherwise, as if enough displacements agreed on it."""
        self._moves.extend([velocity] * SUPPORT)
        self._counted = False

    def _common(self) -> Velocity | None:
        if len(self._moves) < SUPPORT:
            return None
        moves = np.array(self._moves)
        distances = np.linalg.norm(moves[:, None] - moves[None], axis=2)
        speeds = np.linalg.norm(moves, axis=1)
        agreeing = distances <= TOLERANCE * np.maximum(speeds, 1.0)[:, None]
        best = int(agreeing.sum(axis=1).argmax())
        if agreeing[best].sum() < SUPPORT:
            return None
        found: Velocity = np.median(moves[agreeing[best]], axis=0)
        return found

    def learn(
        self,
        places: Sequence[Place],
        boxes: Sequence[Box],
        pairs: Mapping[int, int],
        time: float,
        size: tuple[int, int],
    ) -> None:
        """Note displacements from places to boxes: of the pairs, or of all where there is none.

        Args:
            places: Where parts were.
            boxes: Where parts are.
            pairs: Box index to place index, where a part is known again.
            time: Of the boxes, in seconds.
            size: The picture's (width, height): what its border cuts tells nothing.
        """
        sure = [(places[i], boxes[k]) for k, i in pairs.items()]
        for place, box in sure or [(place, box) for place in places for box in boxes]:
            if time > place.time and tells_movement(place.box, box, size):
                self._counted = False
                self._moves.append((centre(box) - centre(place.box)) / (time - place.time))


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
    runs = any(iou(places[i].box, boxes[k]) < STILL for k, i in found.items())
    return found if runs else found | _all_stopped(places, boxes, likenesses, found)


def _all_stopped(
    places: Sequence[Place],
    boxes: Sequence[Box],
    likenesses: Sequence[Embeddings | None],
    found: Mapping[int, int],
) -> dict[int, int]:
    """Pair what is just where it was, though it should have left: where nothing moves, it stopped.

    Without this check the next equal part, at the same place by chance, would count as the last.
    """
    free = [i for i in range(len(places)) if i not in found.values()]
    return {
        k: i
        for k, box in enumerate(boxes)
        for i in free
        if k not in found
        and iou(places[i].box, box) >= AT_REST
        and (cosine(places[i].likeness, likenesses[k]) or 1.0) >= ALIKE
    }


def _sureness(
    place: Place,
    box: Box,
    likeness: Embeddings | None,
    time: float,
    common: Velocity | None,
    size: tuple[int, int],
) -> float:
    """Return how sure it is that `box` is the part of `place`; 0 where it is not."""
    alike = cosine(place.likeness, likeness)
    expected = place.expected_boxes(time, common)
    if not expected:
        return _first_sureness(place, box, alike, size)
    inside = any(visible(where, size) >= 0.5 for where in expected)
    return max(
        _stopped(place.box, box, alike) if inside else 0.0,
        *(_sureness_at(where, place.box, box, alike, size) for where in expected),
    )


def _sureness_at(
    expected: Box, last: Box, box: Box, alike: float | None, size: tuple[int, int]
) -> float:
    """The same for one place where it is expected."""
    overlap = iou(clipped(expected, size), box)
    if overlap >= OVERLAP:
        return 2.0 + overlap
    side = max(box[2] - box[0], box[3] - box[1], last[2] - last[0], 1)
    distance = float(np.linalg.norm(centre(expected) - centre(box))) / side
    looks_alike = alike is None or alike >= ALIKE
    return 1.0 + (NEAR - distance) if distance <= NEAR and looks_alike else 0.0


def _stopped(last: Box, box: Box, alike: float | None) -> float:
    """The same for a part that has stopped since: less sure than one that goes on."""
    overlap = iou(last, box)
    return overlap if overlap >= STILL and (alike is None or alike >= ALIKE) else 0.0


def _first_sureness(place: Place, box: Box, alike: float | None, size: tuple[int, int]) -> float:
    """The same before anything is known of how parts move."""
    overlap = iou(place.box, box)
    looks_alike = alike is None or alike >= ALIKE
    if overlap >= (OVERLAP if looks_alike else SURE_OVERLAP):
        return 2.0 + overlap
    side = max(box[2] - box[0], box[3] - box[1], 1)
    distance = float(np.linalg.norm(centre(place.box) - centre(box))) / side
    grows = at_border(place.box, size) or at_border(box, size)
    fits = distance <= FIRST_NEAR and (grows or same_size(place.box, box))
    surely_alike = grows if alike is None else alike >= ALIKE
    return (alike or ALIKE) - distance / 10 if fits and surely_alike else 0.0


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


def visible(box: Box, size: tuple[int, int]) -> float:
    """Return which share of a box lies in a picture of (width, height)."""
    return iou(clipped(box, size), box)


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """Return what of a box lies in a picture of (width, height)."""
    return max(0, box[0]), max(0, box[1]), min(size[0], box[2]), min(size[1], box[3])


def at_border(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box is cut by the picture's border, or may be."""
    slack = 0.02 * min(size)
    return min(box[0], box[1]) <= slack or box[2] >= size[0] - slack or box[3] >= size[1] - slack


def tells_movement(a: Box, b: Box, size: tuple[int, int]) -> bool:
    """Whether two boxes may be one part's, and their middles tell how it moved."""
    return same_size(a, b) and all(_tells(a, b, axis, size[axis]) for axis in (0, 1))


def _tells(a: Box, b: Box, axis: int, side: int) -> bool:
    """Whether two boxes' middles tell a movement along an axis: the border cuts neither anew."""
    slack = 0.02 * side
    cut = any(box[axis] <= slack or box[axis + 2] >= side - slack for box in (a, b))
    return not cut or all(abs(a[k] - b[k]) <= 1 for k in (axis, axis + 2))


def same_size(a: Box, b: Box) -> bool:
    """Whether two boxes' sides differ by a quarter at most."""
    sides = [(q[2] - q[0], q[3] - q[1]) for q in (a, b)]
    return all(0.8 <= (x + 1) / (y + 1) <= 1.25 for x, y in zip(*sides, strict=True))


def centre(box: Box) -> Velocity:
    """Return the middle of a box, float64 (2,)."""
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def shifted(box: Box, by: Velocity) -> Box:
    """Return a box that has moved by so many pixels."""
    x, y = round(float(by[0])), round(float(by[1]))
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def cosine(a: Embeddings | None, b: Embeddings | None) -> float | None:
    """Return the cosine similarity of two embeddings; None where one is missing."""
    if a is None or b is None:
        return None
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
