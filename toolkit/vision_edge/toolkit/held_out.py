"""Synthetic tasks that are held out from meta-learning: by them the step is chosen."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vision_edge.export.embedder import normalise_pixels
from vision_edge.export.merge import LowRank, merge
from vision_edge.toolkit.backbones import Backbone
from vision_edge.toolkit.meta_loss import episode_logits
from vision_edge.toolkit.meta_settings import MetaSettings
from vision_edge.toolkit.pool import PoolPart
from vision_edge.toolkit.pool_episodes import ImageStore, SyntheticTask, TaskSource
from vision_edge.toolkit.tokens import forward_tokens


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
        cut = 1 - max(settings.held_out, 1 / 3)
        return TaskSource(parts, shape, mixed, (0.0, cut)), TaskSource(
            parts, shape, mixed, (cut, 1.0)
        )
    count = min(len(parts) - 1, max(1, round(settings.held_out * len(parts))))
    held = set(np.random.default_rng(len(parts)).permutation(len(parts))[:count].tolist())
    learned = [part for index, part in enumerate(parts) if index not in held]
    return (
        TaskSource(learned, shape, mixed),
        TaskSource([parts[index] for index in sorted(held)], shape, 1.0),
    )


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
