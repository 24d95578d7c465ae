"""How much work a recycling does: the presets of `--preset`."""

from __future__ import annotations

from dataclasses import dataclass

from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.recycle.settings import RecycleSettings


@dataclass(frozen=True)
class Amount:
    """How much work a preset does; see the options of the same names."""

    per_class: int
    iterations: int
    prune: str
    sparsity: float
    meta_steps: int
    query: int
    evaluate_tasks: int


PRESETS = {
    "gpu": Amount(10, 200, "6:0.75", 0.5, 100, 9, 32),
    "cpu": Amount(8, 10, "3:0.5,6:0.5", 0.75, 25, 7, 8),
}
"""`gpu`: a minute on a GPU, and what the accuracy in docs/explanation/recycling.md was measured
with; 1,000 iterations on a wide adapter brought nothing more. `cpu`: minutes on two CPU cores."""


def preset_settings(preset: str, seed: int = 0) -> RecycleSettings:
    """Return a preset's settings of the whole pipeline; `dataclasses.replace` changes them.

    Args:
        preset: A name of `PRESETS`.
        seed: Decides noise, tasks and batches.

    Raises:
        VisionEdgeError: If there is no such preset.
    """
    if preset not in PRESETS:
        raise VisionEdgeError(
            f"there is no preset {preset!r}", fix=f"use one of {', '.join(PRESETS)}"
        )
    amount = PRESETS[preset]
    return RecycleSettings(
        inversion=InversionSettings(
            per_class=amount.per_class,
            iterations=amount.iterations,
            pruning=Pruning.parse(amount.prune),
            seed=seed,
        ),
        meta=MetaSettings(
            steps=amount.meta_steps,
            shape=TaskShape(query=amount.query),
            sparsity=amount.sparsity,
            evaluate_tasks=amount.evaluate_tasks,
            seed=seed,
        ),
    )
