"""Meta-learning: the objective, what is learned, when it is looked at, and what diverges."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.meta import FEW, SHAPE, START, assert_close, assert_same, numbers
from support.recycle import headed, noise_parts, pool_in
from support.toolkit import DIM, merged_copy, refusal, tiny_backbone

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens
from vision_edge.toolkit.evaluation.episodes import METRICS
from vision_edge.toolkit.inversion.inversion import invert
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta import learner as metalearn
from vision_edge.toolkit.meta.checkpoint import TrainingState, read_state, write_state
from vision_edge.toolkit.meta.held_out_tasks import (
    held_out_tasks,
    split_sources,
)
from vision_edge.toolkit.meta.learner import Row, meta_learn
from vision_edge.toolkit.meta.loss import episode_logits, task_losses
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import TaskSource
from vision_edge.toolkit.tuning.injection import inject

# --- the whole objective, computed apart -----------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("interpolation", [0.0, 1.0])
def test_curves_are_what_a_merged_model_and_the_runtime_say(
    backbone: Backbone, noise: list[PoolPart], metric: str, interpolation: float
) -> None:
    temperature = 0.1 if metric == "centred-cosine" else 30.0
    settings = replace(
        FEW, steps=1, metric=metric, interpolation=interpolation, temperature=temperature
    )
    result = meta_learn(backbone, START, noise, settings)
    learn, held = split_sources(noise, settings)
    tasks = held_out_tasks(held, settings)
    losses, right = numbers(backbone, START, list(held.parts), tasks, settings)
    assert result.curves[0]["held_out_loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    assert result.curves[0]["held_out_accuracy"] == pytest.approx(np.mean(right), abs=1e-3)
    drawn = [learn.draw(np.random.default_rng([settings.seed, 0, 0, i])) for i in range(3)]
    assert {task.teacher is None for task in drawn} == {interpolation == 1.0}
    losses, _ = numbers(backbone, START, list(learn.parts), drawn, settings)
    assert result.curves[1]["loss"] == pytest.approx(np.mean(losses), rel=1e-3)


def test_the_teacher_is_that_adapter_with_that_head(backbone: Backbone, tmp_path: Path) -> None:
    """Not the student, nor another adapter: recomputed from the images with merged weights."""
    adapters = [headed(f"a{index}", index) for index in range(3)]
    inverting = InversionSettings(per_class=4, iterations=3)
    parts = pool_in(
        tmp_path / "pool", backbone, invert(backbone, adapters, None, inverting)
    ).parts()
    source, rng = TaskSource(parts, SHAPE, 0.0), np.random.default_rng(0)
    for task in [source.draw(rng) for _ in range(6)]:
        (index,) = set(task.parts.tolist())
        columns = [int(parts[index].labels[rows[0]]) for rows in task.rows]
        images = parts[index].images(task.rows[:, SHAPE.shot :].reshape(-1))
        expected = [_says(backbone, adapter, images)[:, columns] for adapter in adapters]
        np.testing.assert_allclose(task.teacher, expected[index], atol=1e-3, rtol=1e-4)
        for other in set(range(3)) - {index}:
            assert np.abs(task.teacher - expected[other]).max() > 0.1
        logits = torch.from_numpy(expected[index])[None]
        assert float(task_losses(logits, [task], SHAPE)) < 1e-5


def _says(backbone: Backbone, adapter: Adapter, images: Any) -> Any:
    assert adapter.head is not None
    assert adapter.head.bias is not None
    embedding = merged_copy(backbone, adapter.updates).embedder().embed(images)
    return embedding @ adapter.head.weight.numpy().T + adapter.head.bias.numpy()


def _naive(
    backbone: Backbone, parts: list[PoolPart], settings: MetaSettings
) -> Iterator[dict[str, LowRank]]:
    """The updates after each step, with the LoRA layers of `tune` and autograd through timm."""
    model = copy.deepcopy(backbone.model)
    layers = inject(model, 2)
    with torch.no_grad():
        for name, layer in layers.items():
            layer.A.copy_(START[name].A.view(2, 2, DIM))
            layer.B[0].copy_(START[name].B[:DIM, :2])
            layer.B[1].copy_(START[name].B[2 * DIM :, 2:])
    factors = [factor for layer in layers.values() for factor in (layer.A, layer.B)]
    start = [(layer.B @ layer.A).detach() for layer in layers.values()]
    size = sum(delta.square().sum() for delta in start)
    optimiser = torch.optim.Adam(factors)
    learn, _ = split_sources(parts, settings)
    shape = settings.shape
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.spec.mean, backbone.spec.std))
    for step in range(settings.steps):
        total = torch.zeros(())
        for index in range(settings.tasks):
            task = learn.draw(np.random.default_rng([settings.seed, 0, step, index]))
            images = np.concatenate(
                [learn.parts[i].images(rows) for i, rows in zip(task.parts, task.rows, strict=True)]
            )
            rgb = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
            x = model.forward_features((rgb - mean) / std)[:, 0].view(shape.way, shape.images, DIM)
            centre = x[:, : shape.shot].mean((0, 1))
            prototypes = x[:, : shape.shot].mean(1) - centre
            queries = x[:, shape.shot :].reshape(-1, DIM) - centre
            scores = torch.cosine_similarity(queries[:, None], prototypes[None], dim=-1)
            log_q = (scores / settings.temperature).log_softmax(-1)
            if task.teacher is None:
                truth = torch.arange(shape.way).repeat_interleave(shape.query)
                loss = F.nll_loss(log_q, truth)
            else:
                p = torch.from_numpy(task.teacher).softmax(-1)
                loss = (p * (p.log() - log_q)).sum(-1).mean()
            total = total + loss / settings.tasks
        moved = [
            (layer.B @ layer.A - old).square().sum()
            for layer, old in zip(layers.values(), start, strict=True)
        ]
        total = total + settings.pull * torch.stack(moved).sum() / size
        optimiser.zero_grad()
        total.backward()
        optimiser.param_groups[0]["lr"] = settings.rate(step)
        optimiser.step()
        yield {name: layer.update() for name, layer in layers.items()}


@pytest.mark.parametrize("pull", [0.0, 3.0])
def test_it_learns_as_a_plain_loop_does(
    backbone: Backbone, noise: list[PoolPart], tmp_path: Path, pull: float
) -> None:
    settings = replace(FEW, steps=4, pull=pull, tasks=4)
    checkpoint = tmp_path / "m.safetensors"
    result = meta_learn(backbone, START, noise, settings, checkpoint=checkpoint)
    *_, last = _naive(backbone, noise, settings)
    products = {name: update.product() for name, update in last.items()}
    moved = sum((products[n] - u.product()).square().sum() for n, u in START.items())
    size = sum(update.product().square().sum() for update in START.values())
    assert result.curves[-1]["distance"] == pytest.approx(math.sqrt(moved / size), rel=1e-2)
    factors = read_state(checkpoint).factors
    pairs = list(zip(factors[0::4], factors[1::4], factors[2::4], factors[3::4], strict=True))
    for (A_q, A_v, B_q, B_v), product in zip(pairs, products.values(), strict=True):
        got = torch.cat([B_q @ A_q, torch.zeros(DIM, DIM), B_v @ A_v])
        torch.testing.assert_close(got, product, atol=2e-4, rtol=0.0)
    assert math.sqrt(moved / size) > 1e-2, "it hardly moved: it proves nothing"


@pytest.mark.parametrize("accumulate", [2, 3, 4, 9])
@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_accumulating_makes_the_same_steps(
    backbone: Backbone, noise: list[PoolPart], accumulate: int, pull: float
) -> None:
    settings = replace(FEW, tasks=4, steps=2, cycle=1000, pull=pull)
    whole = meta_learn(backbone, START, noise, settings)
    parts = meta_learn(backbone, START, noise, replace(settings, accumulate=accumulate))
    assert whole.step == parts.step
    assert_close(whole, parts, atol=1e-5)


def test_sparse_tasks_feed_the_most_important_patches_only(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    parts = noise_parts(tmp_path / "pool", backbone)
    settings = replace(FEW, steps=0, sparsity=0.5, interpolation=0.0)
    result = meta_learn(backbone, START, parts, settings)
    _, held = split_sources(parts, settings)
    merged = merged_copy(backbone, START).model
    losses = []
    for task in held_out_tasks(held, settings):
        images = torch.from_numpy(held.parts[0].images(task.rows.reshape(-1)))
        order = held.parts[0].order[task.rows.reshape(-1)]
        keep = torch.from_numpy(np.sort(order[:, :2], 1).astype(np.int64))
        mean, std = (torch.tensor(v) for v in (backbone.spec.mean, backbone.spec.std))
        pixels = ((images.flip(-1) / 255 - mean) / std).permute(0, 3, 1, 2)
        with torch.no_grad():
            features = forward_tokens(merged, pixels, keep=keep).embedding.view(1, 3, 4, DIM)
        logits = episode_logits(features, SHAPE, settings.metric, settings.temperature)
        losses.append(float(task_losses(logits, [task], SHAPE)))
    assert result.curves[0]["held_out_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    dense = meta_learn(backbone, START, parts, replace(settings, sparsity=0.0))
    assert dense.curves[0]["held_out_loss"] != pytest.approx(np.mean(losses), rel=1e-3)


# --- learning --------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", [0.0, 1.0])
def test_it_learns_what_holds_for_adapters_held_out(
    backbone: Backbone, easy: list[PoolPart], interpolation: float
) -> None:
    settings = replace(
        FEW, steps=60, cycle=60, evaluate_every=20, evaluate_tasks=24, interpolation=interpolation
    )
    result = meta_learn(backbone, START, easy, replace(settings, temperature=0.2))
    first, last = result.curves[0], result.curves[-1]
    assert last["loss"] < 0.7 * result.curves[1]["loss"]
    assert last["held_out_loss"] < 0.9 * first["held_out_loss"]
    assert result.step > 0


def test_the_backbone_and_the_start_are_not_changed(noise: list[PoolPart]) -> None:
    backbone, start = tiny_backbone(), copy.deepcopy(START)
    meta_learn(backbone, start, noise, FEW)
    assert Backbone("", backbone.model, backbone.spec).sha256 == tiny_backbone().sha256
    for name, update in start.items():
        assert torch.equal(update.A, START[name].A)
        assert torch.equal(update.B, START[name].B)


def test_without_steps_the_start_is_judged_and_returned(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    result = meta_learn(backbone, START, noise, replace(FEW, steps=0))
    assert result.step == 0
    assert [row["step"] for row in result.curves] == [0]
    assert result.curves[0]["loss"] is None
    assert result.curves[0]["distance"] == 0.0
    for name, update in result.updates.items():
        torch.testing.assert_close(update.product(), START[name].product(), atol=1e-7, rtol=1e-6)


def test_the_best_step_is_returned_with_its_factors(
    backbone: Backbone, noise: list[PoolPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On noise the loss goes up and down; the best step here is neither the first nor the last."""
    states: dict[int, TrainingState] = {}

    def noted(path: Path, state: TrainingState) -> None:
        clones = [factor.clone() for factor in state.factors]
        states[state.step] = replace(state, factors=clones)
        write_state(path, state)

    monkeypatch.setattr(metalearn, "write_state", noted)
    settings = replace(FEW, steps=9, lr=0.05, cycle=1000, seed=4)
    settings = replace(settings, cycle=4)
    path = tmp_path / "m.safetensors"
    result = meta_learn(backbone, START, noise, settings, checkpoint=path)
    losses = [row["held_out_loss"] for row in result.curves]
    assert result.step == int(np.argmin(losses))
    assert 0 < result.step < 9, losses
    monkeypatch.undo()
    write_state(path, replace(states[result.step], best=states[9].factors))
    state = states[result.step]
    learner_like = meta_learn(backbone, START, noise, replace(settings, steps=0))
    assert learner_like.step == 0
    for index, (_name, update) in enumerate(result.updates.items()):
        A_q, A_v, B_q, B_v = state.factors[4 * index : 4 * index + 4]
        expected = torch.cat([B_q @ A_q, torch.zeros(DIM, DIM), B_v @ A_v])
        torch.testing.assert_close(update.product(), expected, atol=1e-6, rtol=1e-5)
        last = states[9].factors[4 * index + 2]
        assert not torch.equal(B_q, last)


def test_a_pull_keeps_it_near_its_start(backbone: Backbone, noise: list[PoolPart]) -> None:
    settings = replace(FEW, steps=8, cycle=1000, lr=0.01)
    settings = replace(settings, cycle=16)
    free = meta_learn(backbone, START, noise, settings).curves
    bound = meta_learn(backbone, START, noise, replace(settings, pull=1000.0)).curves
    assert free[0]["distance"] == bound[0]["distance"] == 0.0
    assert bound[-1]["distance"] < 0.5 * free[-1]["distance"]


def test_a_random_start_is_learned_from(backbone: Backbone, easy: list[PoolPart]) -> None:
    from vision_edge.toolkit.meta.meta_lora import random_updates

    start = random_updates(backbone.model, 2, 0)
    settings = replace(FEW, steps=40, cycle=40, evaluate_every=20, evaluate_tasks=24)
    result = meta_learn(backbone, start, easy, replace(settings, temperature=0.2))
    assert result.curves[-1]["held_out_loss"] < result.curves[0]["held_out_loss"]
    assert all(math.isfinite(row["distance"]) for row in result.curves)


# --- looks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(4, 2, [0, 2, 4]), (5, 2, [0, 2, 4, 5]), (3, 10, [0, 3]), (0, 1, [0]), (2, 1, [0, 1, 2])],
)
def test_it_looks_at_the_start_regularly_and_at_the_end(
    backbone: Backbone, noise: list[PoolPart], steps: int, every: int, expected: list[int]
) -> None:
    seen: list[Row] = []
    settings = replace(FEW, steps=steps, evaluate_every=every)
    result = meta_learn(backbone, START, noise, settings, progress=seen.append)
    assert [row["step"] for row in result.curves] == expected
    assert seen == result.curves
    assert json.loads(json.dumps(seen)) == seen


def test_tasks_held_out_do_not_depend_on_how_many_are_drawn_at_once(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    few = meta_learn(backbone, START, noise, replace(FEW, steps=0, tasks=1))
    many = meta_learn(backbone, START, noise, replace(FEW, steps=0, tasks=50))
    for name in ("held_out_loss", "held_out_accuracy"):
        assert few.curves[0][name] == pytest.approx(many.curves[0][name], rel=1e-4)


def test_one_seed_gives_one_result_and_another_another(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    torch.manual_seed(1)
    first = meta_learn(backbone, START, noise, FEW)
    torch.manual_seed(2)
    assert_same(meta_learn(backbone, START, noise, FEW), first)
    other = meta_learn(backbone, START, noise, replace(FEW, seed=1))
    assert other.curves[0]["held_out_loss"] != first.curves[0]["held_out_loss"]
    assert other.curves[1]["loss"] != first.curves[1]["loss"]


# --- what diverges ---------------------------------------------------------------------------


def _spoiled(parts: list[PoolPart], names: set[str]) -> list[PoolPart]:
    return [
        replace(part, logits=part.logits * np.nan) if part.name in names else part for part in parts
    ]


def test_a_teacher_that_is_not_finite_stops_it_by_name(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    learn, _ = split_sources(noise, FEW)
    name = learn.parts[0].name
    with refusal(VisionEdgeError, "step", "not finite", name):
        meta_learn(
            backbone,
            START,
            _spoiled(noise, {name}),
            replace(FEW, interpolation=0.0, steps=20, evaluate_every=50),
        )


def test_a_loss_that_is_not_finite_on_tasks_held_out_stops_it(
    backbone: Backbone, noise: list[PoolPart]
) -> None:
    """Else no step is ever better than the start, which is returned without a word."""
    _, held = split_sources(noise, FEW)
    (name,) = {part.name for part in held.parts}
    with refusal(VisionEdgeError, "not finite", name):
        meta_learn(backbone, START, _spoiled(noise, {name}), replace(FEW, interpolation=0.0))
