"""How large a meta-LoRA should be: as large as turns embeddings by a fixed amount.

Which direction an average takes in the space of weights follows from the adapters; how far to go
does not. The norm of the adapters, their agreement, and a share of the weights' norm were all
tried: the best share of the weights lay between 1 % (LoRAs on all linear layers) and 9 % (hubs of
2-way adapters). What the good sizes have in common is how far they turn the embeddings of
pictures, of whatever pictures: so the rule takes generated scenes, which need no data.

Let `e_i` be the plain backbone's embeddings of the scenes and `f_i` those with the update, each
less its mean. The turn is the mean of `1 - cos(e_i, f_i)`; it grows with the square of the norm as
long as it is small. The update's norm is chosen such that the turn is `TURN`.

`docs/recycling.md` says on which hubs the constant was chosen, and what lies at both ends of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.toolkit.adapters.projections import projections, weight_of
from vision_edge.toolkit.backbones.backbone import Backbone

TURN = 0.05
"""The turn that the rule asks for: of 0.02 to 0.08 it lost least against each hub's best size."""

HARM = 0.08
"""The turn from which on many hubs that were tried ended below the plain backbone on some set."""

SCENES = 32
"""Generated scenes that the turn is measured on; with 64 it is 0 to 8 % smaller."""

MOST_SHARE = 0.5
"""The update's norm is never more than this share of the norm of the weights that it changes."""

_TOLERANCE = 0.03
_TRIES = 8


@dataclass(frozen=True)
class Size:
    """How large an update was made.

    Attributes:
        turn: How far it turns the embeddings of generated scenes, mean of 1 - cosine.
        share: Its norm over that of the weights that it changes.
        scale: The multiple of the rule that was asked for.
        limit: What kept it smaller than the rule, if anything did.
    """

    turn: float
    share: float
    scale: float
    limit: str = ""

    def document(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def check_scale(scale: float) -> None:
    """Refuse a multiple of the rule that is no positive number.

    Raises:
        VisionEdgeError: If it is none.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise VisionEdgeError(
            f"scale must be a positive number; got {scale}", fix="1 is what the rule says"
        )


def sized(
    updates: Mapping[str, LowRank],
    backbone: Backbone,
    scale: float = 1.0,
    *,
    own: float | None = None,
) -> tuple[dict[str, LowRank], Size]:
    """Give an update the size that the rule says, times `scale`.

    Args:
        updates: Update by timm module; only its direction counts.
        backbone: What it belongs to.
        scale: Multiple of the norm that the rule says.
        own: A norm that the rule never exceeds: that of a single adapter, which was tuned at
            that size.

    Returns:
        The updates, and how large they are.

    Raises:
        VisionEdgeError: If the updates are zero, or `scale` is no positive number.
    """
    check_scale(scale)
    norm = math.sqrt(sum(update.squared_norm() for update in updates.values()))
    if norm == 0.0:
        raise VisionEdgeError("an update of zeros has no size", fix="leave it out")
    weights = weights_norm(updates, backbone)
    gauge = _Gauge(backbone, updates)
    factor, limit = _factor(gauge, MOST_SHARE * weights / norm, 0.05 * weights / norm)
    if own is not None and factor * norm > own:
        factor, limit = own / norm, "a single adapter is not made larger than it is"
    factor *= scale
    result = {module: scaled(update, factor) for module, update in updates.items()}
    return result, Size(gauge.turn(factor), factor * norm / weights, scale, limit)


def weights_norm(updates: Mapping[str, LowRank], backbone: Backbone) -> float:
    """Return the Frobenius norm of the weights that an update changes, its projections' alone."""
    parts = [name for name, _ in projections(dict(updates))]
    return math.sqrt(sum(float(weight_of(backbone.model, p).square().sum()) for p in parts))


def scaled(update: LowRank, factor: float) -> LowRank:
    """Return an update times a number."""
    return LowRank(update.A, update.B * factor)


def turn_between(before: Embeddings, after: Embeddings) -> float:
    """Return how far embeddings turned: the mean of 1 - cosine, each set less its mean.

    Args:
        before: float32 (N, D).
        after: float32 (N, D), of the same pictures.
    """
    one, other = before - before.mean(axis=0), after - after.mean(axis=0)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return float(1.0 - cosines.mean())


class _Gauge:
    """Measures the turn of an update at any factor, on scenes that stay the same."""

    def __init__(self, backbone: Backbone, updates: Mapping[str, LowRank]) -> None:
        self._backbone, self._updates = backbone, updates
        self._scenes = np.stack(generated_scenes(SCENES, backbone.spec.size))
        self._plain = self._embed(backbone.model)

    def turn(self, factor: float) -> float:
        """Return the turn at a factor."""
        model = copy.deepcopy(self._backbone.model)
        merge(model, {name: scaled(update, factor) for name, update in self._updates.items()})
        return turn_between(self._plain, self._embed(model))

    def _embed(self, model: torch.nn.Module) -> Embeddings:
        return TorchEmbedder(model, self._backbone.spec).embed(self._scenes)


def _factor(gauge: _Gauge, most: float, first: float) -> tuple[float, str]:
    """Return the factor at which the turn is `TURN`, by steps that take it for quadratic."""
    low, high, factor = 0.0, most, min(first, most)
    for _ in range(_TRIES):
        turn = gauge.turn(factor)
        if abs(turn / TURN - 1.0) < _TOLERANCE:
            break
        low, high = (factor, high) if turn < TURN else (low, factor)
        if low >= most:
            return most, f"its norm is {MOST_SHARE:g} times that of the weights it changes"
        guess = factor * math.sqrt(TURN / max(turn, 1e-6))
        if not low < guess < high:
            guess = most if guess >= high == most else (low + high) / 2
        factor = guess
    return factor, ""
