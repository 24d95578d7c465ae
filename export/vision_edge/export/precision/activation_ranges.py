"""What goes into each layer of a model on real images: the basis of its quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from vision_edge.export.graph.cpu_session import cpu_session, with_outputs
from vision_edge.export.graph.layers import Layer
from vision_edge.runtime.arrays import Image

BATCH = 4
SAMPLED_ROWS = 2048


@dataclass(frozen=True)
class Seen:
    """What went into one layer.

    Attributes:
        low: The least value, at most 0.
        high: The greatest value, at least 0.
        rows: float32 (R, K): some of the tokens, drawn at random.
    """

    low: float
    high: float
    rows: NDArray[np.float32]


def observe(model: onnx.ModelProto, layers: Sequence[Layer], images: Image) -> dict[str, Seen]:
    """Run a model on images and note what goes into its layers.

    The whole range is kept: in a vision transformer the few extreme values are not noise but the
    tokens that all others attend to, and clipping them turns the embedding more than the finer
    steps help.

    Args:
        model: A float32 model.
        layers: Which layers.
        images: uint8 (N, S, S, 3) BGR, prepared.

    Returns:
        By layer name.
    """
    sources = list(dict.fromkeys(layer.source for layer in layers))
    session = cpu_session(with_outputs(model, sources))
    rng = np.random.default_rng(0)
    parts: dict[str, list[Seen]] = {source: [] for source in sources}
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        count = max(1, SAMPLED_ROWS * len(batch) // len(images))
        for source, values in zip(sources, session.run(sources, {"images": batch}), strict=True):
            parts[source].append(_seen(values, count, rng))
    return {layer.name: _joined(parts[layer.source]) for layer in layers}


def _seen(values: NDArray[np.float32], count: int, rng: np.random.Generator) -> Seen:
    rows = values.reshape(-1, values.shape[-1])
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
    low, high = np.minimum(values.min(), 0.0), np.maximum(values.max(), 0.0)  # NaN stays NaN
    return Seen(float(low), float(high), rows[chosen])


def _joined(parts: list[Seen]) -> Seen:
    return Seen(
        float(np.min([part.low for part in parts])),
        float(np.max([part.high for part in parts])),
        np.concatenate([part.rows for part in parts]),
    )
