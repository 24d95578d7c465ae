"""What tests of meta-learning share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.toolkit import merged_copy, qv_updates
from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.evaluation.episodes import METRICS
from vision_edge.toolkit.meta.learner import MetaResult
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import SyntheticTask, TaskShape

SHAPE = TaskShape(way=3, shot=1, query=3)
FEW = MetaSettings(
    steps=5, tasks=3, shape=SHAPE, lr=5e-3, cycle=8, evaluate_every=1, evaluate_tasks=6
)
START = qv_updates(2, seed=9)


def assert_same(left: MetaResult, right: MetaResult) -> None:
    """Bit for bit."""
    assert left.curves == right.curves
    assert left.step == right.step
    assert left.updates.keys() == right.updates.keys()
    for name, update in left.updates.items():
        assert torch.equal(update.A, right.updates[name].A)
        assert torch.equal(update.B, right.updates[name].B)


def assert_close(left: MetaResult, right: MetaResult, atol: float) -> None:
    for name, update in left.updates.items():
        torch.testing.assert_close(
            update.product(), right.updates[name].product(), atol=atol, rtol=0.0
        )
    for one, two in zip(left.curves, right.curves, strict=True):
        for key, value in one.items():
            assert two[key] == pytest.approx(value, abs=1e-3), key


def numbers(
    backbone: Backbone,
    updates: dict[str, LowRank],
    parts: list[PoolPart],
    tasks: list[SyntheticTask],
    settings: MetaSettings,
) -> tuple[list[float], list[float]]:
    """Loss and accuracy of each task, by merging, the runtime's scores and numpy in float64."""
    embedder, shape = merged_copy(backbone, updates).embedder(), settings.shape
    truth = np.repeat(np.arange(shape.way), shape.query)
    losses, right = [], []
    for task in tasks:
        embeddings = np.stack(
            [
                embedder.embed(parts[index].images(rows))
                for index, rows in zip(task.parts, task.rows, strict=True)
            ]
        )
        prototypes = embeddings[:, : shape.shot].mean(1)
        queries = embeddings[:, shape.shot :].reshape(len(truth), -1)
        scores = METRICS[settings.metric](queries, prototypes).astype(float)
        if settings.metric == "euclidean":
            scores = -np.square(scores)
        log_q = log_softmax(scores / settings.temperature)
        if task.teacher is None:
            losses.append(-float(log_q[np.arange(len(truth)), truth].mean()))
        else:
            log_p = log_softmax(task.teacher.astype(float))
            losses.append(float((np.exp(log_p) * (log_p - log_q)).sum(1).mean()))
        right.append(100 * float((scores.argmax(1) == truth).mean()))
    return losses, right


def log_softmax(values: Any) -> Any:
    shifted = values - values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
