"""The pipeline of `build --method recycle` on a tiny backbone."""

import errno
import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.toolkit import (
    adapter_in,
    hub_in,
    image_of,
    leftovers,
    qv_updates,
    random_head,
    refusal,
    tiny_backbone,
)

from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import AdapterError, DataError, VisionEdgeError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import Pool, existing_pool
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.recycle import fill_pool as filling
from vision_edge.toolkit.recycle.pipeline import (
    CHECKPOINT_FILE,
    CURVES_FILE,
    RecycleResult,
    recycle_hub,
)
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

FEW = RecycleSettings(
    inversion=InversionSettings(per_class=4, iterations=3, pruning=Pruning(((1, 0.5),))),
    meta=MetaSettings(
        steps=4, tasks=2, shape=TaskShape(2, 1, 2), evaluate_every=2, evaluate_tasks=4, lr=1e-2
    ),
    batch=16,
)


@pytest.fixture(scope="module")
def hub(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_in(tmp_path_factory.mktemp("recycle") / "hub", backbone, 5)


@pytest.fixture(scope="module")
def whole(
    backbone: Backbone, hub: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RecycleResult, Path]:
    """The result of an uninterrupted run, and its work folder; only to be read."""
    work = tmp_path_factory.mktemp("recycle") / "work"
    return recycle_hub(hub, backbone, FEW, Where(work)), work


def _equal(one: RecycleResult, other: RecycleResult) -> None:
    assert one.meta.curves == other.meta.curves
    assert one.meta.step == other.meta.step
    for name, update in one.updates.items():
        assert torch.equal(update.product(), other.updates[name].product())


def test_it_makes_a_pool_curves_and_a_meta_lora(
    backbone: Backbone, hub: Path, whole: tuple[RecycleResult, Path]
) -> None:
    result, work = whole
    assert [part.name for part in result.parts] == [f"a{i}" for i in range(5)]
    assert set(result.stages) == {"average", "invert", "meta-learn"}
    assert all(stage["seconds"] >= 0 and stage["peak_mb"] > 0 for stage in result.stages.values())
    lines = (work / CURVES_FILE).read_text().splitlines()
    assert lines[0].split(",")[:3] == ["step", "loss", "held_out_loss"]
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "2", "4"]
    assert set(result.updates) == {"blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    assert len(existing_pool(work / "pool", backbone).parts()) == 5
    assert not leftovers(work)


def test_it_starts_from_the_subspace_average(
    backbone: Backbone, hub: Path, tmp_path: Path, whole: tuple[RecycleResult, Path]
) -> None:
    still = replace(FEW, meta=replace(FEW.meta, steps=0))
    result = recycle_hub(hub, backbone, still, Where(tmp_path / "work", pool=whole[1] / "pool"))
    for name, update in result.subspace.updates.items():
        torch.testing.assert_close(result.updates[name].product(), update.product())


@pytest.mark.parametrize("start", ["average", "random"])
def test_other_starts(
    backbone: Backbone, hub: Path, tmp_path: Path, whole: tuple[RecycleResult, Path], start: str
) -> None:
    settings = replace(FEW, start=start, meta=replace(FEW.meta, steps=0))
    result = recycle_hub(hub, backbone, settings, Where(tmp_path / "w", pool=whole[1] / "pool"))
    for name, update in result.updates.items():
        expected = result.average.updates[name].product()
        if start == "random":
            expected = torch.zeros_like(expected)
        torch.testing.assert_close(update.product(), expected, atol=1e-6, rtol=1e-5)


def _killer(at: int) -> Callable[..., None]:
    count = itertools.count()

    def kill(*_: Any) -> None:
        if next(count) == at:
            raise KeyboardInterrupt

    return kill


@pytest.mark.parametrize("at", [0, 3, 7, 11, 16, 19])
def test_killed_at_any_moment_it_is_resumed_with_the_same_result(
    backbone: Backbone, hub: Path, tmp_path: Path, whole: tuple[RecycleResult, Path], at: int
) -> None:
    where = Where(tmp_path / "work")
    kill = _killer(at)
    with pytest.raises(KeyboardInterrupt):
        recycle_hub(hub, backbone, FEW, where, Watch(kill, kill, kill, kill))
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])


def test_what_is_finished_is_not_done_again(
    backbone: Backbone,
    hub: Path,
    tmp_path: Path,
    whole: tuple[RecycleResult, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = Where(tmp_path / "work")
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])
    before = {path: path.stat().st_mtime_ns for path in where.work.rglob("*.safetensors")}
    monkeypatch.setattr(filling.Inverter, "invert", None)
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])
    assert before == {path: path.stat().st_mtime_ns for path in where.work.rglob("*.safetensors")}


def test_no_space_left_loses_nothing(
    backbone: Backbone,
    hub: Path,
    tmp_path: Path,
    whole: tuple[RecycleResult, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where, plain, added = Where(tmp_path / "work"), Pool.add, []

    def full(self: Pool, *args: Any) -> None:
        if len(added) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        added.append(args)
        plain(self, *args)

    monkeypatch.setattr(Pool, "add", full)
    with pytest.raises(OSError, match="No space left"):
        recycle_hub(hub, backbone, FEW, where)
    monkeypatch.undo()
    assert len(existing_pool(where.work / "pool", backbone).parts()) == 3
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])


def test_half_a_file_that_a_killed_process_left_is_passed_over(
    backbone: Backbone, hub: Path, tmp_path: Path, whole: tuple[RecycleResult, Path]
) -> None:
    where = Where(tmp_path / "work")
    pool = where.work / "pool"
    shutil.copytree(whole[1] / "pool", pool)
    part = next(pool.glob("a0-*.safetensors"))
    part.rename(pool / f".{part.stem}-x.tmp.safetensors").write_bytes(b"half")
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])


def test_adapters_without_heads_are_averaged_but_not_inverted(
    backbone: Backbone, hub: Path, tmp_path: Path
) -> None:
    mixed = hub_in(tmp_path / "hub", backbone, 3)
    adapter_in(mixed / "headless", backbone, qv_updates(seed=9))
    result = recycle_hub(mixed, backbone, FEW, Where(tmp_path / "work"))
    assert [part.name for part in result.parts] == ["a0", "a1", "a2"]
    facts = {fact["name"]: fact["has_head"] for fact in result.average.report["adapters"]}
    assert facts == {"a0": True, "a1": True, "a2": True, "headless": False}


def test_a_hub_without_any_head_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    adapter_in(tmp_path / "hub" / "headless", backbone, qv_updates(seed=9))
    with refusal(AdapterError, tmp_path / "hub", "none of its adapters has a head"):
        recycle_hub(tmp_path / "hub", backbone, FEW, Where(tmp_path / "work"))


def test_heads_of_different_sizes(backbone: Backbone, tmp_path: Path) -> None:
    for index, way in enumerate([2, 5, 3, 2]):
        adapter_in(
            tmp_path / "hub" / f"a{index}",
            backbone,
            qv_updates(seed=index + 1),
            head=random_head(way, index),
        )
    result = recycle_hub(tmp_path / "hub", backbone, FEW, Where(tmp_path / "work"))
    assert [part.way for part in result.parts] == [2, 5, 3, 2]
    assert [len(part.labels) for part in result.parts] == [8, 20, 12, 8]


def test_one_adapter_only(backbone: Backbone, tmp_path: Path) -> None:
    hub = hub_in(tmp_path / "hub", backbone, 1)
    with refusal(DataError, "1 images of a class", "need 2"):  # one third of four is held out
        recycle_hub(hub, backbone, FEW, Where(tmp_path / "few"))
    more = replace(FEW, inversion=replace(FEW.inversion, per_class=6))
    result = recycle_hub(hub, backbone, more, Where(tmp_path / "work"))
    assert len(result.parts) == 1
    assert [row["step"] for row in result.meta.curves] == [0, 2, 4]


def test_a_bad_adapter_is_refused_or_left_out(backbone: Backbone, tmp_path: Path) -> None:
    hub = hub_in(tmp_path / "hub", backbone, 3)
    (hub / "a1" / "adapter_config.json").write_text("{")
    with refusal(AdapterError, "a1"):
        recycle_hub(hub, backbone, FEW, Where(tmp_path / "work"))
    result = recycle_hub(hub, backbone, FEW, Where(tmp_path / "work", skip_bad=True))
    assert [part.name for part in result.parts] == ["a0", "a2"]
    assert set(result.average.report["skipped"]) == {"a1"}


def test_a_work_folder_of_other_settings_is_refused(
    backbone: Backbone, hub: Path, whole: tuple[RecycleResult, Path]
) -> None:
    other = replace(FEW, inversion=replace(FEW.inversion, iterations=4))
    with refusal(DataError, whole[1] / "pool", "settings"):
        recycle_hub(hub, backbone, other, Where(whole[1]))
    other = replace(FEW, meta=replace(FEW.meta, lr=1e-3))
    with refusal(VisionEdgeError, CHECKPOINT_FILE, "other settings"):
        recycle_hub(hub, backbone, other, Where(whole[1]))


def test_a_pool_of_another_backbone_is_refused(
    tmp_path: Path, whole: tuple[RecycleResult, Path]
) -> None:
    other = tiny_backbone(seed=5)
    hub = hub_in(tmp_path / "hub", other, 2)
    with refusal(DataError, "test_vit", "pool"):
        recycle_hub(hub, other, FEW, Where(tmp_path / "work", pool=whole[1] / "pool"))


def test_more_steps_go_on_from_fewer(
    backbone: Backbone, hub: Path, tmp_path: Path, whole: tuple[RecycleResult, Path]
) -> None:
    where = Where(tmp_path / "work")
    recycle_hub(hub, backbone, replace(FEW, meta=replace(FEW.meta, steps=2)), where)
    _equal(recycle_hub(hub, backbone, FEW, where), whole[0])


def test_inversion_starts_from_frames(backbone: Backbone, hub: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.png"), image_of(index, index))
    still = replace(FEW, inversion=replace(FEW.inversion, lr=0.0))
    where = Where(tmp_path / "work", frames=frames)
    result = recycle_hub(hub, backbone, still, where)
    pixels = {part.name: part.images() for part in result.parts}
    for images in pixels.values():
        spread = images.astype(int).reshape(len(images), -1).std(axis=1)
        assert (spread > 20).all(), "photographs, not noise or grey"
        assert len({image.tobytes() for image in images}) == 3, "three frames make eight starts"
    assert any(not np.array_equal(pixels["a0"], pixels[name]) for name in ("a1", "a2"))
    claim = json.loads((where.work / "pool" / "pool.json").read_text())
    assert claim["start"] == "frames"


def test_a_start_that_is_unknown_is_refused() -> None:
    with refusal(VisionEdgeError, "'middle'"):
        RecycleSettings(start="middle")


def test_groups_are_even_and_of_one_number_of_classes() -> None:
    found = [
        filling.Found(Path(f"{i}"), f"{i}", way, Path(f"{i}.s"), False)
        for i, way in enumerate([5, 5, 3, 5, 5, 5, 3])
    ]
    groups = list(filling.even_groups(found, batch=40, per_class=2))
    assert [[item.way for item in group] for group in groups] == [[3, 3], [5, 5, 5], [5, 5]]
    single = list(filling.even_groups(found[:1], batch=1, per_class=2))
    assert [len(group) for group in single] == [1]
