"""How queries are scored, and the loss of a task."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.meta import SHAPE

from vision_edge.toolkit.evaluation.episodes import METRICS
from vision_edge.toolkit.meta.loss import episode_logits, task_losses
from vision_edge.toolkit.pool.tasks import SyntheticTask, TaskShape


@pytest.mark.parametrize("shape", [TaskShape(3, 1, 4), TaskShape(5, 3, 2)])
@pytest.mark.parametrize("metric", METRICS)
def test_queries_are_scored_as_the_runtime_does(shape: TaskShape, metric: str) -> None:
    features = torch.randn(4, shape.way, shape.images, 16) + 2.0
    logits = episode_logits(features, shape, metric, 0.1)
    assert logits.shape == (4, shape.way * shape.query, shape.way)
    for task, found in zip(features.numpy(), logits.numpy(), strict=True):
        prototypes = task[:, : shape.shot].mean(1)
        queries = task[:, shape.shot :].reshape(-1, 16)
        expected = METRICS[metric](queries, prototypes)
        assert (found.argmax(1) == expected.argmax(1)).all()
        if metric == "euclidean":
            expected = -np.square(expected)
        np.testing.assert_allclose(found * 0.1, expected, atol=1e-4, rtol=1e-4)


def test_a_query_at_the_centre_has_no_nan() -> None:
    features = torch.ones(1, 3, 2, 8, requires_grad=True)
    logits = episode_logits(features, TaskShape(3, 1, 1), "centred-cosine", 0.1)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def _task(teacher: Any) -> SyntheticTask:
    return SyntheticTask(np.zeros(3, np.int64), np.zeros((3, 4), np.int64), teacher)


def test_the_loss_with_a_teacher_is_the_kl_of_the_student_from_it() -> None:
    """sum_k p_k (log p_k - log q_k), p the teacher's: the mean over queries."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(9, 3)).astype(np.float32) * 2
    scores = torch.randn(9, 3, dtype=torch.float32) * 2
    expected = 0.0
    for t, s in zip(teacher.astype(float), scores.double().tolist(), strict=True):
        p = [math.exp(v) / sum(map(math.exp, t)) for v in t]
        q = [math.exp(v) / sum(map(math.exp, s)) for v in s]
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 9
    (loss,) = task_losses(scores[None], [_task(teacher)], SHAPE)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    probabilities = torch.from_numpy(teacher).softmax(-1)
    explicit = F.kl_div(scores.log_softmax(-1), probabilities, reduction="sum") / 9
    assert float(loss) == pytest.approx(float(explicit), rel=1e-4)


def test_it_is_zero_where_the_student_is_the_teacher_and_only_there() -> None:
    teacher = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    same = torch.from_numpy(teacher) + torch.randn(9, 1)  # a constant a row changes nothing
    (zero,) = task_losses(same[None], [_task(teacher)], SHAPE)
    assert float(zero) == pytest.approx(0.0, abs=1e-6)
    same[4, 1] += 0.1
    (more,) = task_losses(same[None], [_task(teacher)], SHAPE)
    assert float(more) > 1e-5


def test_without_a_teacher_it_is_the_cross_entropy_of_the_classes() -> None:
    scores = torch.randn(2, 9, 3)
    teacher = np.zeros((9, 3), np.float32)
    mixed, taught = task_losses(scores, [_task(None), _task(teacher)], SHAPE)
    rows = scores[0].double().softmax(-1)
    expected = -sum(math.log(rows[row, row // 3]) for row in range(9)) / 9
    assert float(mixed) == pytest.approx(expected, rel=1e-5)
    uniform = -math.log(3) - scores[1].log_softmax(-1).mean()
    assert float(taught) == pytest.approx(float(uniform), rel=1e-4)


def test_the_teacher_has_no_gradient_and_the_student_has_one() -> None:
    scores = torch.randn(1, 9, 3, requires_grad=True)
    task_losses(scores, [_task(np.zeros((9, 3), np.float32))], SHAPE).sum().backward()
    assert scores.grad is not None
    expected = (scores.detach().softmax(-1) - 1 / 3) / 9
    torch.testing.assert_close(scores.grad, expected)
