"""The parts that ride on the line: their names, their sizes, and who draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vision_edge.demo import flat_parts, long_parts, round_parts
from vision_edge.demo.relief import Relief


@dataclass(frozen=True)
class Design:
    """How a part is drawn.

    Attributes:
        draw: Builds the part on an empty relief.
        reach: Radius of the circle around it, as a share of the inspection window's side.
    """

    draw: Callable[[Relief], None]
    reach: float


_DESIGNS: dict[str, Design] = {
    "spur_gear": Design(round_parts.spur_gear, 0.35),
    "hex_bolt": Design(long_parts.hex_bolt, 0.37),
    "hex_nut": Design(round_parts.hex_nut, 0.27),
    "washer": Design(round_parts.washer, 0.25),
    "ball_bearing": Design(round_parts.ball_bearing, 0.32),
    "l_bracket": Design(flat_parts.l_bracket, 0.37),
    "circuit_board": Design(flat_parts.circuit_board, 0.38),
    "bottle_cap": Design(round_parts.bottle_cap, 0.27),
    "coil_spring": Design(long_parts.coil_spring, 0.36),
    "flange": Design(round_parts.flange, 0.34),
    "star_knob": Design(round_parts.star_knob, 0.31),
    "dsub_connector": Design(flat_parts.dsub_connector, 0.35),
    "wing_nut": Design(long_parts.wing_nut, 0.34),
    "blade_fuse": Design(flat_parts.blade_fuse, 0.30),
    "o_ring": Design(round_parts.o_ring, 0.30),
    "pipe_elbow": Design(long_parts.pipe_elbow, 0.34),
    "spark_plug": Design(long_parts.spark_plug, 0.38),
    "impeller": Design(round_parts.impeller, 0.34),
}

PART_NAMES: tuple[str, ...] = tuple(_DESIGNS)
"""Labels of all the parts, in fixed order."""


def check_label(label: str) -> str:
    """Return `label` if it names a part.

    Raises:
        ValueError: If it does not; the message lists the names there are.
    """
    if label not in _DESIGNS:
        raise ValueError(f"unknown part {label!r}; use one of: {', '.join(PART_NAMES)}")
    return label


def reach_of(label: str) -> float:
    """Radius of the circle around a part, as a share of the inspection window's side."""
    return _DESIGNS[check_label(label)].reach


def draw_part(label: str, size: int, angle: float, rng: np.random.Generator) -> Relief:
    """Draw one part.

    Args:
        label: One of `PART_NAMES`.
        size: Side of the relief in pixels.
        angle: Rotation about the view axis, in radians.
        rng: Source of its scratches, stains and brush marks.

    Returns:
        The part's relief, not yet lit.

    Raises:
        ValueError: If `label` names no part.
    """
    relief = Relief(size, angle, rng)
    _DESIGNS[check_label(label)].draw(relief)
    return relief
