"""The demonstration's cast: which parts are registered, which stay strangers, which line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.demo.rendered_line import Conveyor
from vision_edge.demo.settings import ConveyorConfig

REGISTERED, STRANGERS = 8, 4


@dataclass(frozen=True)
class Cast:
    """Who takes part in a demonstration; everything follows from the seed.

    Attributes:
        seed: The seed.
        registered: Parts that are registered by one snapshot each.
        strangers: Parts that ride the belt too, and must be refused.
        config: The line.
        passes: How often each part passes.
    """

    seed: int
    registered: tuple[str, ...]
    strangers: tuple[str, ...]
    config: ConveyorConfig
    passes: int

    def conveyor(self) -> Conveyor:
        """Return the line with all parts on it."""
        return Conveyor(self.config, self.registered + self.strangers, passes=self.passes)


def draw_cast(seed: int, passes: int = 3) -> Cast:
    """Draw 8 parts to register and 4 strangers, and a line, from a seed."""
    order = np.random.default_rng([seed, 7]).permutation(len(PART_NAMES))
    names = [PART_NAMES[index] for index in order[: REGISTERED + STRANGERS]]
    config = ConveyorConfig(seed=seed, width=960, speed=8.0, spacing=1.0)
    return Cast(seed, tuple(names[:REGISTERED]), tuple(names[REGISTERED:]), config, passes)
