"""What lies cut off at the border of the picture: no part that passed, whatever it was.

A part that passes comes off the border it came in by, or goes along it. What touches one border in
every look and stays where it was along it came no further in: the next part that waits at a belt
that stands, a hand's edge, a tray. It was never wholly in view, so nobody misses a verdict on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vision_edge.runtime.recognition.part_consensus import Box

TRAVEL = 0.5
"""Share of its own side by which what lies at the border may shift along it; more has passed."""
LOOKS = 2
"""Least looks that show that it stays: what was seen once may have passed."""
_SLACK, _PIXELS = 0.025, 7.0
"""Of the picture's shorter side, and at least so many pixels: what is nearer to the border may go
on outside. No less than `Presence` allows for, at any size of picture."""
_BORDERS = frozenset(range(4))
"""Left, top, right, bottom."""


@dataclass
class BorderTrack:
    """Which borders a part has touched all along, and how far it went along them.

    Attributes:
        borders: Those it touched in every look: 0 left, 1 top, 2 right, 3 bottom.
        looks: In how many looks it was seen.
    """

    borders: frozenset[int] = _BORDERS
    looks: int = 0
    _least: list[float] = field(default_factory=list)
    _most: list[float] = field(default_factory=list)
    _side: list[int] = field(default_factory=list)

    def seen(self, box: Box, size: tuple[int, int]) -> None:
        """Note where it is in one look, in a picture of (width, height)."""
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        sides = [box[2] - box[0], box[3] - box[1]]
        if not self.looks:
            self._least, self._most, self._side = middle, list(middle), sides
        self._least = [min(pair) for pair in zip(self._least, middle, strict=True)]
        self._most = [max(pair) for pair in zip(self._most, middle, strict=True)]
        self._side = [max(pair) for pair in zip(self._side, sides, strict=True)]
        self.looks += 1
        self.borders &= touched(box, size)

    @property
    def stayed(self) -> bool:
        """Whether it only lay at one border: it neither came off it nor went along it.

        What touches two opposite borders fills the view: that is a part too large for it.
        """
        if self.looks < LOOKS or {0, 2} <= self.borders or {1, 3} <= self.borders:
            return False
        return any(self._lay_along(1 - border % 2) for border in self.borders)

    def _lay_along(self, axis: int) -> bool:
        """Whether it stayed where it was along an axis: 0 across, 1 down."""
        return self._most[axis] - self._least[axis] < TRAVEL * max(1, self._side[axis])


def touched(box: Box, size: tuple[int, int]) -> frozenset[int]:
    """Return the borders of a picture of (width, height) by which a box is cut, or may be."""
    slack = max(_PIXELS, _SLACK * min(size))
    room = (box[0], box[1], size[0] - box[2], size[1] - box[3])
    return frozenset(border for border, left in enumerate(room) if left <= slack)
