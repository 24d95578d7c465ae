"""The state of meta-learning on disk: one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.backbones.weights import read_safetensors, write_safetensors

KEY = "vision_edge"
GROUPS = ("factors", "best", "first_moments", "second_moments")


@dataclass(frozen=True)
class TrainingState:
    """What meta-learning needs to go on.

    Attributes:
        step: Steps that were made.
        best_step: The step whose meta-LoRA is the best so far.
        curves: Rows of the curves so far.
        factors: The meta-LoRA's factors.
        best: Those of the best step.
        first_moments: Adam's; empty before the first step.
        second_moments: Adam's; empty before the first step.
        settings: What they were made with; JSON values.
        identity: Hash of backbone, pool and start.
    """

    step: int
    best_step: int
    curves: list[dict[str, Any]]
    factors: Sequence[Tensor]
    best: Sequence[Tensor]
    first_moments: Sequence[Tensor]
    second_moments: Sequence[Tensor]
    settings: dict[str, Any]
    identity: str = ""


def write_state(path: Path, state: TrainingState) -> None:
    """Write a state in place of an older one."""
    tensors = {
        f"{group}.{index:04d}": tensor.detach().cpu().contiguous().clone()
        for group in GROUPS
        for index, tensor in enumerate(getattr(state, group))
    }
    facts = {
        "step": state.step,
        "best_step": state.best_step,
        "curves": state.curves,
        "settings": state.settings,
        "identity": state.identity,
    }
    with atomic_file(path) as temporary:
        write_safetensors(temporary, tensors, {KEY: json.dumps(facts)})


def read_state(path: Path) -> TrainingState:
    """Read a state.

    Raises:
        VisionEdgeError: If the file is damaged or no such state.
    """
    tensors, metadata = read_safetensors(path, VisionEdgeError)
    try:
        facts = json.loads(metadata[KEY])
        groups: dict[str, list[Tensor]] = {group: [] for group in GROUPS}
        for name in sorted(tensors):
            groups[name.partition(".")[0]].append(tensors[name])
        return TrainingState(
            facts["step"],
            facts["best_step"],
            facts["curves"],
            **groups,
            settings=facts["settings"],
            identity=facts["identity"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise VisionEdgeError(
            f"{path}: no checkpoint of meta-learning ({error})", fix="remove it to begin anew"
        ) from error
