"""Synthetic tasks that are held out from meta-learning: by them the step is chosen."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens
from vision_edge.toolkit.meta.loss import episode_logits
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import ImageStore, SyntheticTask, TaskSource

SHARE_OF_ONE = 1 / 3
"""Share of the images that is held out at least where there is a single adapter."""


def fitted(settings: MetaSettings, parts: Sequence[PoolPart]) -> MetaSettings:
    """Return the settings with tasks that the pool can fill, those held out too.

    Args:
        settings: What was asked for; classes and queries may become fewer.
        parts: The pool.
    """
    shape = settings.shape
    sides = [parts] if len(parts) == 1 else _sides(parts, settings)
    way = min([shape.way, *(sum(part.way for part in side) for side in sides)])
    images = min(int(np.bincount(part.labels).min()) for part in parts)
    if len(parts) == 1:
        images -= round(_cut(settings) * images)
    query = max(1, min(shape.query, images - shape.shot))
    return replace(settings, shape=replace(shape, way=way, query=query))


def _cut(settings: MetaSettings) -> float:
    """Return the share of a single adapter's images that is learned from."""
    return 1 - max(settings.held_out, SHARE_OF_ONE)


def _sides(
    parts: Sequence[PoolPart], settings: MetaSettings
) -> tuple[list[PoolPart], list[PoolPart]]:
    """Divide a pool into parts to learn from and parts held out, the same for the same pool."""
    count = min(len(parts) - 1, max(1, round(settings.held_out * len(parts))))
    held = set(np.random.default_rng(len(parts)).permutation(len(parts))[:count].tolist())
    learned = [part for index, part in enumerate(parts) if index not in held]
    return learned, [parts[index] for index in sorted(held)]


def split_sources(
    parts: Sequence[PoolPart], settings: MetaSettings
) -> tuple[TaskSource, TaskSource]:
    """Return where tasks to learn from and tasks held out come from, the same for the same pool.

    Whole adapters are held out; of a single one, some of its images.

    Raises:
        DataError: If there is too little of either.
    """
    shape, mixed = settings.shape, settings.interpolation
    if len(parts) == 1:
        cut = _cut(settings)
        learned_from = TaskSource(parts, shape, mixed, (0.0, cut))
        return learned_from, TaskSource(parts, shape, mixed, (cut, 1.0))
    learned, held = _sides(parts, settings)
    return TaskSource(learned, shape, mixed), TaskSource(held, shape, 1.0)


def held_out_tasks(source: TaskSource, settings: MetaSettings) -> list[SyntheticTask]:
    """Return the tasks by which a step is judged, the same for the same seed."""
    rng = np.random.default_rng([settings.seed, 1])
    return [source.draw(rng) for _ in range(settings.evaluate_tasks)]


@torch.no_grad()
def held_out_document(
    backbone: Backbone,
    states: Mapping[str, Mapping[str, LowRank]],
    parts: Sequence[PoolPart],
    settings: MetaSettings,
    device: str = "cpu",
) -> dict[str, Any]:
    """Compare meta-LoRAs on the synthetic tasks held out from meta-learning.

    Args:
        backbone: What they belong to.
        states: Updates by name; none at all for the plain backbone.
        parts: The pool.
        settings: Those of meta-learning, which decide the tasks.
        device: Where to compute, in float32.

    Returns:
        A table of the form that `evaluate.to_document` gives, in percent.
    """
    settings = fitted(settings, parts)
    shape = settings.shape
    _, held = split_sources(parts, settings)
    tasks = held_out_tasks(held, settings)
    store = ImageStore(held.parts, torch.device(device))
    truth = torch.arange(shape.way, device=device).repeat_interleave(shape.query)
    results = []
    for name, updates in states.items():
        model = copy.deepcopy(backbone.model)
        merge(model, updates)
        model.to(device)
        rates = []
        for task in tasks:
            pixels = normalise_pixels(store.images([task]), backbone.spec)
            features = forward_tokens(model, pixels).embedding.view(1, shape.way, shape.images, -1)
            logits = episode_logits(features, shape, settings.metric, settings.temperature)
            rates.append(float((logits[0].argmax(-1) == truth).float().mean()))
        error = float(np.std(rates, ddof=1) / math.sqrt(len(rates))) if len(rates) > 1 else 0.0
        results.append(
            {
                "name": name,
                "way": shape.way,
                "shot": shape.shot,
                "episodes": len(tasks),
                "accuracy": 100 * float(np.mean(rates)),
                "ci95": 196 * error,
            }
        )
    return {
        "data": "synthetic tasks held out",
        "metric": settings.metric,
        "way": shape.way,
        "shot": shape.shot,
        "query": shape.query,
        "episodes": len(tasks),
        "results": results,
    }
