"""Meta-learning that is stopped goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.meta import FEW, START, assert_same
from support.toolkit import qv_updates, refusal, tiny_backbone

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.meta import learner as metalearn
from vision_edge.toolkit.meta.checkpoint import read_state
from vision_edge.toolkit.meta.learner import MetaResult, Row, meta_learn
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import TaskShape


@pytest.fixture(scope="module")
def uninterrupted(backbone: Backbone, noise: list[PoolPart]) -> MetaResult:
    return meta_learn(backbone, START, noise, replace(FEW, steps=7, evaluate_every=2, pull=0.5))


@pytest.mark.parametrize("advances", range(8))
def test_killed_after_any_step_it_goes_on_as_if_it_had_not_been(
    backbone: Backbone,
    noise: list[PoolPart],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: MetaResult,
    advances: int,
) -> None:
    settings = replace(FEW, steps=7, evaluate_every=2, pull=0.5)
    checkpoint, plain, made = tmp_path / "m.safetensors", metalearn.Learner.advance, []

    def killed(self: Any) -> None:
        if len(made) == advances:
            raise KeyboardInterrupt
        made.append(self.step)
        plain(self)

    monkeypatch.setattr(metalearn.Learner, "advance", killed)
    if advances < 7:
        with pytest.raises(KeyboardInterrupt):
            meta_learn(backbone, START, noise, settings, checkpoint=checkpoint)
        saved = read_state(checkpoint).step
        assert saved == advances - advances % 2
    else:
        meta_learn(backbone, START, noise, settings, checkpoint=checkpoint)
    monkeypatch.undo()
    rows: list[Row] = []
    result = meta_learn(
        backbone, START, noise, settings, checkpoint=checkpoint, progress=rows.append
    )
    assert_same(result, uninterrupted)
    assert rows == uninterrupted.curves[len(uninterrupted.curves) - len(rows) :]
    assert (len(rows) == 0) == (advances == 7), "what is finished is not done again"


def test_steps_may_be_added(backbone: Backbone, noise: list[PoolPart], tmp_path: Path) -> None:
    checkpoint = tmp_path / "m.safetensors"
    for steps in (0, 1, 3, 5):
        result = meta_learn(
            backbone, START, noise, replace(FEW, steps=steps), checkpoint=checkpoint
        )
    assert_same(result, meta_learn(backbone, START, noise, FEW))


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"lr": 1e-3}, {"tasks": 2}, {"shape": TaskShape(3, 1, 2)}, {"temperature": 1.0}],
)
def test_a_checkpoint_of_other_settings_is_refused(
    backbone: Backbone, noise: list[PoolPart], tmp_path: Path, change: dict[str, Any]
) -> None:
    checkpoint = tmp_path / "m.safetensors"
    meta_learn(backbone, START, noise, replace(FEW, steps=1), checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with refusal(VisionEdgeError, checkpoint, "settings"):
        meta_learn(backbone, START, noise, replace(FEW, **change), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_rank_is_refused(
    backbone: Backbone, noise: list[PoolPart], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "m.safetensors"
    meta_learn(backbone, START, noise, replace(FEW, steps=1), checkpoint=checkpoint)
    with refusal(VisionEdgeError, checkpoint):
        meta_learn(backbone, qv_updates(3), noise, FEW, checkpoint=checkpoint)


def test_a_checkpoint_of_another_start_pool_or_backbone_is_refused(
    backbone: Backbone, noise: list[PoolPart], tmp_path: Path
) -> None:
    """Else a hub that has grown would be answered with the old hub's meta-LoRA."""
    checkpoint = tmp_path / "m.safetensors"
    meta_learn(backbone, START, noise, replace(FEW, steps=1), checkpoint=checkpoint)
    for changed in (
        (backbone, qv_updates(2, seed=1), noise),
        (backbone, START, noise[:3]),
        (tiny_backbone(seed=1), START, noise),
    ):
        with refusal(VisionEdgeError, checkpoint):
            meta_learn(*changed, FEW, checkpoint=checkpoint)
