"""Who passes when: the order of the parts on the belt, the empty stretches, the hands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_edge.demo.settings import ConveyorConfig, window_side

_ORDER, _GAPS, _HANDS = 1, 2, 3
"""Separate random streams, so that more parts do not change the hands, and so on."""


@dataclass(frozen=True)
class PartPass:
    """One part on the belt.

    Attributes:
        instance: Its number along the belt, from 0.
        label: One of `PART_NAMES`.
        station: Where it lies: its centre is at `round(frame * speed) - station` pixels.
    """

    instance: int
    label: str
    station: int


@dataclass(frozen=True)
class HandReach:
    """One hand that reaches over the belt and withdraws.

    Attributes:
        number: Its number, from 0.
        first: First frame of the movement.
        last: Last frame of the movement.
        x: Where across the frame it reaches, in frame widths, 0 to 1.
        depth: How far in the fingertips come, in frame heights, 0 to 1.
        from_top: It comes from the far side of the belt.
    """

    number: int
    first: int
    last: int
    x: float
    depth: float
    from_top: bool

    def extension(self, frame: int) -> float:
        """How far in the hand is at `frame`: 0 away, 1 fully extended."""
        if not self.first <= frame <= self.last:
            return 0.0
        t = (frame - self.first + 1) / (self.last - self.first + 2)
        ramp = min(1.0, min(t, 1.0 - t) / 0.36)
        return ramp * ramp * (3.0 - 2.0 * ramp)


@dataclass(frozen=True)
class Schedule:
    """All that passes.

    Attributes:
        parts: Passes by place along the belt.
        hands: Reaches by time.
        length: Frames until the last part has left, or as many as were asked for.
    """

    parts: tuple[PartPass, ...]
    hands: tuple[HandReach, ...]
    length: int


def make_schedule(
    config: ConveyorConfig, parts: Sequence[str], passes: int, length: int | None
) -> Schedule:
    """Lay parts on the belt.

    Args:
        config: The line.
        parts: Labels; each passes once in every round, in an order shuffled for that round.
        passes: Rounds, at least 1; ignored when `length` is given.
        length: Frames, at least 1: as many rounds as fill them.

    Returns:
        The schedule. With `length`, longer ones begin with exactly what shorter ones hold.
    """
    rounds = passes
    if length is not None:
        shortest = config.spacing * window_side(config) * 0.88 * len(parts)
        rounds = math.ceil((length * config.speed + config.width) / shortest) + 1
    order = _order(config, parts, rounds)
    stations, empty = _stations(config, len(order))
    placed = tuple(
        PartPass(k, label, station)
        for k, (label, station) in enumerate(zip(order, stations, strict=True))
    )
    if length is None:
        travel = placed[-1].station + config.width + window_side(config) // 2
        length = math.ceil(travel / config.speed) + 1
    hands = _hands(config, placed, empty)
    return Schedule(placed, tuple(h for h in hands if h.first < length), length)


def _order(config: ConveyorConfig, parts: Sequence[str], rounds: int) -> list[str]:
    """Every round shuffled; a part never follows itself over the seam of two rounds."""
    order: list[str] = []
    for number in range(rounds):
        rng = np.random.default_rng((config.seed, _ORDER, number))
        shuffled = [parts[k] for k in rng.permutation(len(parts))]
        if order and shuffled[0] == order[-1]:
            shuffled = shuffled[1:] + shuffled[:1]
        order += shuffled
    return order


def _stations(config: ConveyorConfig, count: int) -> tuple[list[int], list[bool]]:
    """Where the parts lie, and which are followed by an empty stretch."""
    side = window_side(config)
    rng = np.random.default_rng((config.seed, _GAPS))
    place = 0.30 * side
    stations, empty = [], []
    for jitter, luck, extra in rng.random((count, 3)):
        stations.append(round(place))
        empty.append(bool(luck < config.empty_rate))
        stretch = side * (1.0 + 0.8 * extra) if empty[-1] else 0.0
        place += side * config.spacing * (1.0 + 0.24 * (jitter - 0.5)) + stretch
    return stations, empty


def _hands(
    config: ConveyorConfig, placed: Sequence[PartPass], empty: Sequence[bool]
) -> list[HandReach]:
    """One hand in every `1 / hand_rate` parts: mostly over empty belt, sometimes over a part."""
    if config.hand_rate <= 0.0:
        return []
    block = max(1, round(1.0 / config.hand_rate))
    hands = []
    for number, start in enumerate(range(0, len(placed) - 1, block)):
        rng = np.random.default_rng((config.seed, _HANDS, number))
        pick = start + int(rng.integers(block))
        between = 0.0 if rng.random() < 0.3 else 0.5
        # Only gaps up to `pick` count: which hand comes must not depend on the schedule's end.
        gap = next((k for k in range(start, min(pick + 1, len(empty))) if empty[k]), None)
        if gap is not None:
            pick, between = gap, 0.5
        if pick + 1 < len(placed):
            hands.append(_reach(config, placed, pick, between, rng, number))
    return hands


def _reach(
    config: ConveyorConfig,
    placed: Sequence[PartPass],
    pick: int,
    between: float,
    rng: np.random.Generator,
    number: int,
) -> HandReach:
    """Time a reach so that the chosen place on the belt is then in mid-frame."""
    here, after = placed[pick].station, placed[pick + 1].station
    place = here + between * (after - here)
    x = 0.5 + 0.16 * (float(rng.random()) - 0.5)
    middle = (place + x * config.width) / config.speed
    half = 0.5 * config.fps * (1.2 + 0.9 * float(rng.random()))
    first = max(0, round(middle - half))
    depth = 0.48 + 0.30 * float(rng.random())
    from_top = bool(rng.random() < 0.25)
    return HandReach(number, first, max(first + 2, round(middle + half)), x, depth, from_top)
