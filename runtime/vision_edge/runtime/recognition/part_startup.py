"""How a line's speed is found where looks are too far apart for parts to overlap themselves.

Until it is known, nobody can say which of the parts in view is which of those seen before. Looks
are then held until one velocity explains them: under it parts are seen again where they should be,
and were not seen before they came in, or after they had left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.part_consensus import Box
from vision_edge.runtime.recognition.part_motion import (
    ALIKE,
    OVERLAP,
    SUPPORT,
    TOLERANCE,
    Place,
    Velocity,
    at_border,
    centre,
    clipped,
    cosine,
    iou,
    same_size,
    shifted,
    tells_movement,
    visible,
)

HOLD_LOOKS = 8
"""Looks that are held at most; then parts are told apart as well as they can be."""
HOLD_SECONDS = 10.0
"""The same in seconds, for looks that are further apart. Tested from 30 looks a second to 1."""
_LEAD = 2.0
"""By how much a velocity must explain more than the next best one."""
_INSIDE = 0.5
"""Share of a part that must be in view for its absence to tell something."""


@dataclass(frozen=True)
class Seen:
    """What is in view at one moment: one box a part, and what the part looks like."""

    time: float
    boxes: tuple[Box, ...]
    likenesses: tuple[Embeddings | None, ...]
    size: tuple[int, int]


class StartUp:
    """Remembers what was seen lately, and finds the velocity that explains it."""

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=HOLD_LOOKS + 1)

    def add(self, seen: Seen) -> None:
        """Remember one look."""
        self._seen.append(seen)

    def velocity(self, *, last: bool = False) -> Velocity | None:
        """Return the velocity that explains the looks; None where that is not clear yet.

        Args:
            last: Whether to take the best one, since there is no more time.
        """
        scored = sorted(
            ((self._explained(v), -float(np.linalg.norm(v)), v) for v in self._candidates()),
            key=lambda one: one[:2],
            reverse=True,
        )
        if not scored:
            return None
        score, _, best = scored[0]
        best = np.median([v for s, _, v in scored if s == score and _alike(v, best)], axis=0)
        if last:
            return best if score > 0 else None
        others = [s for s, _, v in scored if not _alike(v, best)]
        clear = score >= SUPPORT and score - max(others, default=0.0) >= _LEAD
        return best if clear else None

    def _candidates(self) -> Iterator[Velocity]:
        """Yield the velocity of each pair in two looks that may be one part."""
        for before, now in self._pairs():
            for i, old in enumerate(before.boxes):
                for k, new in enumerate(now.boxes):
                    fits = tells_movement(old, new, now.size)
                    if fits and _look_alike(before.likenesses[i], now.likenesses[k]):
                        yield (centre(new) - centre(old)) / (now.time - before.time)

    def _explained(self, velocity: Velocity) -> float:
        """Return how many parts were seen again under a velocity, less those that should be."""
        return (
            sum(
                _seen_again(before, now, velocity) + _seen_again(now, before, velocity)
                for before, now in self._pairs()
            )
            / 2
        )

    def _pairs(self) -> list[tuple[Seen, Seen]]:
        looks = list(self._seen)
        return [(a, b) for a, b in pairwise(looks) if b.time > a.time]


def is_unclear(places: Sequence[Place], seen: Seen, common: Velocity | None) -> bool:
    """Whether something in view may be a part that was seen before, and may be another as well.

    Args:
        places: Where parts were, and how they move.
        seen: What is in view now.
        common: The line's velocity, if it is known.
    """
    unknown = [place for place in places if not place.expected_boxes(seen.time, common)]
    may_be = [[k for k in range(len(seen.boxes)) if _may_be(place, seen, k)] for place in unknown]
    chosen = [k for boxes in may_be for k in boxes]
    return any(
        len(boxes) > 1 or chosen.count(k) > 1 or iou(place.box, seen.boxes[k]) < OVERLAP
        for place, boxes in zip(unknown, may_be, strict=True)
        for k in boxes
    )


def _may_be(place: Place, seen: Seen, k: int) -> bool:
    """Whether a box may be a place's part, as far as size and looks tell."""
    box = seen.boxes[k]
    cut = at_border(place.box, seen.size) or at_border(box, seen.size)
    fits = cut or same_size(place.box, box)
    return fits and _look_alike(place.likeness, seen.likenesses[k])


def _seen_again(here: Seen, there: Seen, velocity: Velocity) -> float:
    """Return how many parts of one look are in another, less those that should be and are not."""
    score = 0.0
    for box, likeness in zip(here.boxes, here.likenesses, strict=True):
        expected = shifted(box, velocity * (there.time - here.time))
        if at_border(box, here.size) and at_border(expected, here.size):
            continue  # how much of it there is outside is not known
        found = any(
            iou(clipped(expected, there.size), other) >= OVERLAP
            and _look_alike(likeness, there.likenesses[k])
            for k, other in enumerate(there.boxes)
        )
        if found:
            score += 1.0
        elif visible(expected, there.size) >= _INSIDE:
            score -= 1.0
    return score


def _look_alike(a: Embeddings | None, b: Embeddings | None) -> bool:
    likeness = cosine(a, b)
    return likeness is None or likeness >= ALIKE


def _alike(a: Velocity, b: Velocity) -> bool:
    return float(np.linalg.norm(a - b)) <= TOLERANCE * max(float(np.linalg.norm(b)), 1.0)
