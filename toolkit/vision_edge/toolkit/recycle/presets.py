"""How much work a build does: the presets of `--preset`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


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
    "gpu": Amount(20, 400, "6:0.75", 0.5, 100, 9, 32),
    "cpu": Amount(8, 10, "3:0.5,6:0.5", 0.75, 25, 7, 8),
}
