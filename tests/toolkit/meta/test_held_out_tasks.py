"""What is kept apart, and judged."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.meta import FEW, START, numbers
from support.recycle import pool_in
from support.toolkit import refusal

from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.meta.held_out_tasks import (
    fitted,
    held_out_document,
    held_out_tasks,
    split_sources,
)
from vision_edge.toolkit.meta.learner import meta_learn
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import TaskShape


def test_whole_adapters_are_held_out(noise: list[PoolPart]) -> None:
    for share, count in ((0.0, 1), (0.15, 1), (0.5, 2), (0.9, 3)):
        learn, held = split_sources(noise, replace(FEW, held_out=share))
        left, right = ({part.name for part in source.parts} for source in (learn, held))
        assert len(right) == count
        assert left | right == {"a0", "a1", "a2", "a3"}
        assert not left & right
        again, _ = split_sources(noise, replace(FEW, held_out=share, seed=5))
        assert [part.name for part in again.parts] == [part.name for part in learn.parts]


def test_of_a_single_adapter_images_are_held_out(backbone: Backbone, tmp_path: Path) -> None:
    from support.recycle import inverted

    parts = pool_in(tmp_path / "pool", backbone, [inverted(3, 12)]).parts()
    rng, seen = np.random.default_rng(0), []
    for source in split_sources(parts, FEW):
        tasks = [source.draw(rng) for _ in range(60)]
        assert all(task.teacher is not None for task in tasks)
        seen.append({int(row) for task in tasks for row in task.rows.ravel()})
    assert not seen[0] & seen[1]
    assert (len(seen[0]), len(seen[1])) == (24, 12)
    meta_learn(backbone, START, parts, replace(FEW, steps=1))


def test_a_pool_that_is_too_small_is_refused(backbone: Backbone, noise: list[PoolPart]) -> None:
    with refusal(DataError, "4 images", "need 5"):
        meta_learn(backbone, START, noise, replace(FEW, shape=TaskShape(3, 4, 10)))


def test_tasks_are_made_to_fit_the_pool(noise: list[PoolPart]) -> None:
    wanted = replace(FEW, shape=TaskShape(100, 1, 100))
    shape = fitted(wanted, noise).shape
    learn, held = split_sources(noise, fitted(wanted, noise))
    assert shape.way == min(sum(p.way for p in side.parts) for side in (learn, held))
    assert shape.images == 4
    assert fitted(FEW, noise) == FEW


def test_the_comparison_on_tasks_held_out_is_the_runtimes(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    states = {"plain": {}, "start": START}
    document = held_out_document(backbone, states, noise, FEW)
    _, held = split_sources(noise, FEW)
    tasks = held_out_tasks(held, FEW)
    for row in document["results"]:
        _, right = numbers(backbone, states[row["name"]], list(held.parts), tasks, FEW)
        assert row["accuracy"] == pytest.approx(np.mean(right), abs=1e-3)
        error = np.std(right, ddof=1) / math.sqrt(len(right))
        assert row["ci95"] == pytest.approx(1.96 * error, abs=1e-3)
    assert [row["name"] for row in document["results"]] == ["plain", "start"]
    assert json.loads(json.dumps(document)) == document
    curve = meta_learn(backbone, START, noise, replace(FEW, steps=0)).curves[0]
    assert document["results"][1]["accuracy"] == pytest.approx(curve["held_out_accuracy"], abs=1e-3)
