"""What an export is asked for, and what its gate asks of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ExportError

PrecisionName = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Limits:
    """What the gate asks.

    Attributes:
        min_cosine: Of every image, to the PyTorch model that leaves out the same patches.
        max_accuracy_drop: Most points of few-shot accuracy below the float32 model that leaves
            out none.
        min_pruned_cosine: On average over the images, to that model; only with pruning.
    """

    min_cosine: float
    max_accuracy_drop: float = 0.5
    min_pruned_cosine: float = 0.95


MIN_COSINE: dict[PrecisionName, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}
"""Least cosine of any image to the float32 PyTorch model's embedding, by precision."""
MAX_ACCURACY_DROP = 0.5
"""Points of few-shot accuracy that a narrower type may cost."""
MIN_PRUNED_COSINE, MAX_PRUNED_DROP = 0.95, 2.0
"""Least mean cosine and most points with pruning; docs/how-to/export.md says why."""


@dataclass(frozen=True)
class ExportSettings:
    """How a model is exported.

    Attributes:
        precision: Arithmetic of the graph.
        pruning: Patches that it leaves out.
        patches: Return patch tokens as well, for re-ranking.
        fused_attention: Attention as ONNX Runtime's own operator: quicker on its CUDA provider,
            and unknown to TensorRT and OpenVINO.
        half_weights: Store float32 weights in float16: half the size; with fp32 only.
        min_cosine: Instead of the precision's own limit; with pruning, instead of the limit on
            the mean cosine to the model that leaves out no patches.
        max_accuracy_drop: Instead of the own limit, in points.

    Raises:
        ExportError: If they contradict each other.
    """

    precision: PrecisionName = "fp32"
    pruning: Pruning = field(default_factory=Pruning)
    half_weights: bool = False
    min_cosine: float | None = None
    max_accuracy_drop: float | None = None
    fused_attention: bool = False
    patches: bool = False

    def __post_init__(self) -> None:
        if self.half_weights and self.precision != "fp32":
            raise ExportError(
                f"weights in float16 for float32 arithmetic do not go with {self.precision}",
                fix="leave out --half-weights, or export with --precision fp32",
            )
        if self.fused_attention and (self.precision == "int8" or self.half_weights):
            got = "int8" if self.precision == "int8" else "--half-weights"
            raise ExportError(
                f"fused attention is written in float32 and float16; got {got}",
                fix="leave out --fused-attention, or export with --precision fp16",
            )
        for name in ("min_cosine", "max_accuracy_drop"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ExportError(f"{name} must be a number; got {value}", fix="for instance 0.98")

    @property
    def limits(self) -> Limits:
        """What the gate asks of it."""
        pruned = bool(self.pruning.steps)
        cosine, drop = self.min_cosine, self.max_accuracy_drop
        own = MIN_COSINE[self.precision]
        default_drop = MAX_PRUNED_DROP if pruned else MAX_ACCURACY_DROP
        return Limits(
            min_cosine=own if cosine is None or pruned else cosine,
            max_accuracy_drop=default_drop if drop is None else drop,
            min_pruned_cosine=MIN_PRUNED_COSINE if cosine is None or not pruned else cosine,
        )


@dataclass(frozen=True)
class ExportImages:
    """Images for the gate and the cohort, or for calibration.

    Attributes:
        images: Each uint8 (H, W, 3), BGR, of any size.
        source: What they are, for the manifest.
        from_station: Whether they are from the station's own camera or its like.
        photographs: Whether they are photographs at all, of whatever.
    """

    images: Sequence[Image]
    source: str
    from_station: bool = True
    photographs: bool = True


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images, for the gate's few-shot episodes.

    Attributes:
        images: uint8 (N, S, S, 3), BGR, prepared.
        labels: int64 (N,): each image's class, counted from 0.
        source: What they are, for the manifest.
        own_views: Whether each class is one picture and views of it.
    """

    images: Image
    labels: NDArray[np.int64]
    source: str
    own_views: bool = False

    def members(self) -> list[NDArray[np.int64]]:
        """Return, of each class, the rows of its images."""
        return [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]

    @property
    def serves_trial(self) -> bool:
        """Whether products and strangers can be played with them: four real classes or more."""
        return not self.own_views and sum(len(rows) > 1 for rows in self.members()) >= 4
