"""Locating: where in a picture are the parts? What answers that, and what the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.part_outlines import Box, Outlines, area

Locate = Literal["whole", "presence", "detector"]
LOCATES: tuple[Locate, ...] = ("whole", "presence", "detector")
"""How parts are located: the whole picture is one; by the empty scene; by a detector's model."""


@dataclass(frozen=True)
class Found:
    """A part in a picture.

    Attributes:
        box: Where, in pixels of the picture.
        complete: Whether it lies wholly inside the picture: it touches no border.
        score: How sure it is that it is a part, 0 to 1; 1 where nobody can tell.
        outlines: What it covers, in pixels of the picture; none where only its box is known.
    """

    box: Box
    complete: bool
    score: float = 1.0
    outlines: Outlines = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class EmptyScene:
    """The scene without parts.

    Attributes:
        image: uint8 (H, W, 3), BGR; it need not be of the frames' size.
        light: By how much each channel is brighter now than in it: float32 (3,).
    """

    image: Image
    light: NDArray[np.float32]


class Locator(Protocol):
    """Anything that finds parts in pictures of one scene, one picture at a time."""

    def find_all(self, image: Image) -> list[Found]:
        """Return all parts in uint8 (H, W, 3) BGR, from left to right."""

    @property
    def scene(self) -> EmptyScene | None:
        """The empty scene as of the last picture; None where it is unknown."""

    @property
    def doubt(self) -> str | None:
        """What speaks against what it was given to know; None if nothing does."""


def most_prominent(found: Sequence[Found]) -> Found | None:
    """Return the largest that is wholly in view, or else the largest; None of nothing."""
    whole = [one for one in found if one.complete]
    return max(whole or found, key=lambda one: area(one.box), default=None)
