"""What can be chosen about the line, and what is known to be true of its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

Box = tuple[int, int, int, int]
"""Pixel rectangle `(x0, y0, x1, y1)`, the right and lower edges excluded."""

_WINDOW_SHARE = 0.625
_MIN_SIDE = 96


@dataclass(frozen=True)
class ConveyorConfig:
    """A rendered line.

    Attributes:
        seed: Everything random follows from it: order, poses, stains, light, hands, noise.
        width: Frame width in pixels, at least 96.
        height: Frame height in pixels, at least 96.
        fps: Frames a second: what the video says, and how fast hands and light change.
        speed: Belt travel in pixels a frame, left to right; at most a tenth of the inspection
            window's side, so that every part is wholly inside it at least once.
        spacing: Distance between neighbouring parts, in window sides, at least 1.
        empty_rate: Share of parts followed by a stretch of empty belt, 0 to 1.
        hand_rate: Hands that reach over the belt, per part, 0 to 1.
        drift: Strength of the lighting's drift and flicker: 0 none, 1 usual, at most 3.
        noise: Standard deviation of the sensor noise, in grey levels of 255, 0 to 30.

    Raises:
        ValueError: If a value is out of its range; the message names it and the range.
    """

    seed: int = 0
    width: int = 640
    height: int = 480
    fps: float = 30.0
    speed: float = 6.0
    spacing: float = 1.2
    empty_rate: float = 0.12
    hand_rate: float = 0.1
    drift: float = 1.0
    noise: float = 2.2

    def __post_init__(self) -> None:
        for name in ("seed", "width", "height"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be a whole number, got {value!r}; pass an int")
        _check("seed", self.seed, 0, math.inf)
        _check("width", self.width, _MIN_SIDE, 8192)
        _check("height", self.height, _MIN_SIDE, 8192)
        _check("fps", self.fps, 1.0, 1000.0)
        _check("speed", self.speed, 0.05, 0.1 * window_side(self))
        _check("spacing", self.spacing, 1.0, 10.0)
        _check("empty_rate", self.empty_rate, 0.0, 1.0)
        _check("hand_rate", self.hand_rate, 0.0, 1.0)
        _check("drift", self.drift, 0.0, 3.0)
        _check("noise", self.noise, 0.0, 30.0)


def _check(name: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside `low` to `high`, and NaN."""
    if not low <= value <= high:
        wanted = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}; choose a value in that range")


def window_side(config: ConveyorConfig) -> int:
    """Side of the square inspection window, in pixels."""
    return 2 * round(0.5 * _WINDOW_SHARE * min(config.width, config.height))


def inspection_window(config: ConveyorConfig) -> Box:
    """Where the line looks at its parts: a square in the middle of the frame.

    Args:
        config: The line.

    Returns:
        `(x0, y0, x1, y1)` in pixels, the right and lower edges excluded.

    Examples:
        >>> inspection_window(ConveyorConfig())
        (170, 90, 470, 390)
    """
    side = window_side(config)
    x0, y0 = (config.width - side) // 2, (config.height - side) // 2
    return x0, y0, x0 + side, y0 + side


def line_view(config: ConveyorConfig) -> Box:
    """What of a frame shows the belt: all of it but the rails, where several parts pass at once."""
    rail = round(0.083 * config.height)
    return 0, rail, config.width, config.height - rail


@dataclass(frozen=True)
class PartTruth:
    """One part in one frame.

    Attributes:
        instance: Which pass this is, unique along the belt; -1 on a registration snapshot.
        label: One of `PART_NAMES`.
        bbox: Tight box around what of the part is in the frame, without its shadow.
        visible_fraction: Share of the part's area that is inside the frame and not hidden by
            a hand, 0 to 1.
        centred: The whole part is inside the inspection window (a hand may still hide it).
    """

    instance: int
    label: str
    bbox: Box
    visible_fraction: float
    centred: bool


@dataclass(frozen=True)
class FrameTruth:
    """What is in one frame.

    Attributes:
        frame: Its number, from 0.
        parts: Every part with at least one pixel in the frame, the furthest along first.
        hand: A hand or sleeve is in the frame.
    """

    frame: int
    parts: tuple[PartTruth, ...]
    hand: bool
