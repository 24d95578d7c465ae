"""Settings of a hub that is tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vision_edge.runtime.errors import VisionEdgeError


@dataclass(frozen=True)
class TuneSettings:
    """Settings of a hub; a hub that is resumed must have the same.

    Attributes:
        tasks: How many adapters.
        way: Classes a task.
        steps: Optimiser steps a task.
        rank: Rank of the LoRA on each of query and value.
        batch: Images a step, spread evenly over the classes.
        lr: Adam's learning rate.
        seed: Decides tasks, initial weights and batches.
        half: Store adapters in float16 instead of float32.
    """

    tasks: int = 24
    way: int = 5
    steps: int = 150
    rank: int = 4
    batch: int = 40
    lr: float = 1e-3
    seed: int = 0
    half: bool = False

    def __post_init__(self) -> None:
        for name in ("tasks", "steps", "rank", "batch"):
            if getattr(self, name) < 1:
                raise VisionEdgeError(
                    f"{name} must be at least 1; got {getattr(self, name)}", fix=f"raise --{name}"
                )
        if self.way < 2:
            raise VisionEdgeError(f"way must be at least 2; got {self.way}", fix="raise --way")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise VisionEdgeError(
                f"lr must be a positive number; got {self.lr}", fix="1e-3 is a good start"
            )
