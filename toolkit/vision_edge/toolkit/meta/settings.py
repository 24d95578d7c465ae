"""Settings of meta-learning."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.pool.tasks import TaskShape

METRICS = ("centred-cosine", "euclidean")
WARMUP_LR = 1e-5


@dataclass(frozen=True)
class MetaSettings:
    """Settings of meta-learning.

    Attributes:
        steps: Optimiser steps.
        tasks: Tasks a step, over all processes.
        accumulate: Into how many parts a step's tasks are split, to need less memory.
        shape: Form of a task.
        lr: Adam's highest learning rate; each cycle rises to it from 1e-5 and falls to 0.
        cycle: Steps of a cycle, a quarter of them warm-up.
        sparsity: Share of the patches left out, the least important first.
        interpolation: Share of the tasks that mix classes of different adapters.
        metric: How queries are scored: one of `METRICS`.
        temperature: What scores are divided by.
        pull: Weight of the squared distance from the start, relative to the start's size.
        held_out: Share of the adapters (of the images, with one adapter) held out to choose
            the step; at least one.
        evaluate_every: Steps between two looks at the tasks held out.
        evaluate_tasks: How many of them.
        seed: Decides the tasks.
    """

    steps: int = 100
    tasks: int = 4
    accumulate: int = 1
    shape: TaskShape = field(default_factory=TaskShape)
    lr: float = 1e-4
    cycle: int = 100
    sparsity: float = 0.0
    interpolation: float = 0.5
    metric: str = "centred-cosine"
    temperature: float = 0.1
    pull: float = 0.0
    held_out: float = 0.15
    evaluate_every: int = 25
    evaluate_tasks: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tasks", "accumulate", "cycle", "evaluate_every", "evaluate_tasks"):
            if getattr(self, name) < 1:
                raise VisionEdgeError(
                    f"{name} must be at least 1; got {getattr(self, name)}", fix="raise it"
                )
        if self.steps < 0:
            raise VisionEdgeError(f"steps must not be negative; got {self.steps}", fix="raise it")
        if self.metric not in METRICS:
            raise VisionEdgeError(
                f"metric {self.metric!r} is unknown", fix=f"use one of {', '.join(METRICS)}"
            )
        for name, low, high in (
            ("sparsity", 0, 0.99),
            ("interpolation", 0, 1),
            ("held_out", 0, 0.9),
            ("lr", 0, 1),
            ("temperature", 1e-4, 1e4),
            ("pull", 0, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise VisionEdgeError(
                    f"{name} must be from {low} to {high}; got {getattr(self, name)}",
                    fix="leave it at its default",
                )

    @property
    def images_a_step(self) -> int:
        """How many images a step embeds, over all processes."""
        return self.tasks * self.shape.way * self.shape.images

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: per cycle a linear warm-up, then a cosine to 0."""
        warm = max(1, self.cycle // 4)
        within = step % self.cycle
        if within < warm:
            low = min(WARMUP_LR, self.lr)
            return low + (self.lr - low) * within / warm
        progress = (within - warm) / max(1, self.cycle - warm)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)
