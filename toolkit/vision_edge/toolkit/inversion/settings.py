"""Settings of LoRA Inversion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import VisionEdgeError


@dataclass(frozen=True)
class InversionSettings:
    """Settings of LoRA Inversion.

    Attributes:
        per_class: Images a class.
        iterations: Optimiser steps.
        lr: Adam's learning rate on normalised pixels, which falls to zero by a cosine.
        prior_weight: alpha, the weight of the BatchNorm prior.
        tv_weight: Weight of the total variation, which takes the prior's place without one.
        pruning: Which blocks drop patches.
        prune_after: Share of the iterations that run unpruned first.
        seed: Decides noise, rolls and flips.
    """

    per_class: int = 20
    iterations: int = 500
    lr: float = 0.25
    prior_weight: float = 0.01
    tv_weight: float = 1.0
    pruning: Pruning = field(default_factory=Pruning)
    prune_after: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("per_class", "iterations"):
            if getattr(self, name) < 1:
                raise VisionEdgeError(
                    f"{name} must be at least 1; got {getattr(self, name)}", fix="raise it"
                )
        for name in ("lr", "prior_weight", "tv_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise VisionEdgeError(
                    f"{name} must be a number from 0; got {value}", fix="leave it at its default"
                )

        if not 0 <= self.prune_after <= 1:
            raise VisionEdgeError(
                f"prune_after must be from 0 to 1; got {self.prune_after}",
                fix="0.25 prunes in all but the first quarter of the iterations",
            )

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {**asdict(self), "pruning": str(self.pruning)}
