import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.toolkit import class_folders, leftovers, merged_copy, refusal, tiny_backbone

from vision_edge.runtime.errors import DataError, ImageError, VisionEdgeError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.data.dataset import Dataset, open_dataset
from vision_edge.toolkit.tuning import tune
from vision_edge.toolkit.tuning.settings import TuneSettings
from vision_edge.toolkit.tuning.tune import HUB_FILE, tune_hub

FEW = TuneSettings(tasks=3, way=2, steps=3, rank=2, batch=4, lr=1e-2)
LEARNING = TuneSettings(tasks=2, way=3, steps=40, rank=4, batch=12, lr=1e-2)


@pytest.fixture(scope="module")
def data(image_folder: Path) -> Dataset:
    return open_dataset(image_folder, "train")


@pytest.fixture(scope="module")
def learned(backbone: Backbone, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub that was tuned long enough to have learned; only to be read."""
    out = tmp_path_factory.mktemp("tune") / "hub"
    tune_hub(backbone, data, out, LEARNING)
    return out


def _hashes(hub: Path) -> dict[str, str]:
    return {
        str(path.relative_to(hub)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(hub.rglob("*"))
        if path.is_file()
    }


# --- learning --------------------------------------------------------------------------------


def _loss_and_accuracy(model: Backbone, adapter: Any, data: Dataset) -> tuple[float, float]:
    rows = [i for i in range(len(data)) if data.classes[data.labels[i]] in adapter.classes]
    labels = torch.tensor([adapter.classes.index(data.classes[data.labels[i]]) for i in rows])
    embeddings = torch.from_numpy(model.embedder().embed(data.prepared(model.spec, rows)))
    logits = embeddings @ adapter.head.weight.T + adapter.head.bias
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return float(loss), float((logits.argmax(1) == labels).float().mean())


def test_a_tuned_adapter_and_its_head_have_learned_their_task(
    backbone: Backbone, data: Dataset, learned: Path
) -> None:
    for index in range(LEARNING.tasks):
        adapter = read_adapter(learned / f"task-{index:04d}", backbone)
        merged = merged_copy(backbone, adapter.updates)
        loss, accuracy = _loss_and_accuracy(merged, adapter, data)
        without, _ = _loss_and_accuracy(backbone, adapter, data)
        assert accuracy > 0.9
        assert loss < 0.5 < math.log(LEARNING.way)
        assert without > loss, "the head alone does not explain it"
        assert adapter.info["final_loss"] < 0.7


def test_an_adapter_says_what_it_was_tuned_on(
    backbone: Backbone, data: Dataset, learned: Path
) -> None:
    adapter = read_adapter(learned / "task-0000", backbone)
    assert (adapter.method, adapter.base) == ("tune", "test_vit")
    assert adapter.backbone_sha256 == backbone.sha256
    assert len(set(adapter.classes)) == LEARNING.way
    assert set(adapter.classes) <= set(data.classes)
    assert adapter.info["data"] == data.name
    assert adapter.info["settings"]["steps"] == LEARNING.steps
    assert set(adapter.updates) == {"blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    assert {update.rank for update in adapter.updates.values()} == {2 * LEARNING.rank}


def test_keys_are_left_alone(backbone: Backbone, learned: Path) -> None:
    for update in read_adapter(learned / "task-0000", backbone).updates.values():
        query, key, value = update.product().chunk(3)
        assert query.any()
        assert value.any()
        assert not key.any()


def test_tasks_are_of_different_classes(backbone: Backbone, learned: Path) -> None:
    first, second = (read_adapter(learned / f"task-000{i}", backbone) for i in range(2))
    assert first.classes != second.classes


def test_the_backbone_is_not_changed(data: Dataset, tmp_path: Path) -> None:
    backbone = tiny_backbone()
    tune_hub(backbone, data, tmp_path / "hub", FEW)
    assert backbone.sha256 == Backbone("", backbone.model, backbone.spec).sha256
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_half_precision_is_stored_as_such(
    backbone: Backbone, data: Dataset, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    settings = TuneSettings(**{**vars(FEW), "tasks": 1, "half": True})
    tune_hub(backbone, data, tmp_path / "hub", settings)
    tensors = load_file(tmp_path / "hub" / "task-0000" / MODEL_FILE)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    read_adapter(tmp_path / "hub" / "task-0000", backbone)


def test_batches_are_balanced() -> None:
    labels = np.repeat([0, 1, 2], [50, 3, 7])
    rng = np.random.default_rng(0)
    for batch in (3, 7, 20):
        counts = np.bincount(labels[tune._balanced(labels, batch, rng)], minlength=3)
        assert counts.sum() == batch
        assert counts.max() - counts.min() <= 1


# --- the same again, and going on ------------------------------------------------------------


def test_one_seed_gives_one_hub_and_another_another(
    backbone: Backbone, data: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    tune_hub(backbone, data, tmp_path / "a", FEW)
    torch.manual_seed(2)
    tune_hub(backbone, data, tmp_path / "b", FEW)
    assert _hashes(tmp_path / "a") == _hashes(tmp_path / "b")
    other = TuneSettings(**{**vars(FEW), "seed": 1})
    tune_hub(backbone, data, tmp_path / "c", other)
    weights = f"task-0000/{MODEL_FILE}"
    assert _hashes(tmp_path / "a")[weights] != _hashes(tmp_path / "c")[weights]


def test_an_adapter_that_is_gone_is_made_again_bit_for_bit(
    backbone: Backbone, data: Dataset, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    first = tune_hub(backbone, data, hub, FEW)
    before = _hashes(hub)
    stamps = {path: path.stat().st_mtime_ns for path in hub.rglob("*") if path.is_file()}
    shutil.rmtree(hub / "task-0001")
    seen = []
    second = tune_hub(backbone, data, hub, FEW, progress=lambda result: seen.append(result.name))
    assert _hashes(hub) == before
    assert [result.skipped for result in second] == [True, False, True]
    assert [result.classes for result in second] == [result.classes for result in first]
    assert second[1].loss == first[1].loss
    assert seen == ["task-0000", "task-0001", "task-0002"]
    others = [path for path in stamps if path.parent.name != "task-0001"]
    assert all(path.stat().st_mtime_ns == stamps[path] for path in others)


def test_a_hub_may_grow(backbone: Backbone, data: Dataset, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    tune_hub(backbone, data, hub, TuneSettings(**{**vars(FEW), "tasks": 1}))
    before = _hashes(hub)
    tune_hub(backbone, data, hub, FEW)
    assert before.items() < _hashes(hub).items()
    assert (hub / "task-0002").is_dir()


def test_an_interrupted_task_leaves_the_others_and_goes_on(
    backbone: Backbone, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, write = tmp_path / "hub", tune.write_adapter

    def interrupted(folder: Path, *arguments: Any, **options: Any) -> None:
        write(folder, *arguments, **options)
        if "task-0001" in folder.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(tune, "write_adapter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune_hub(backbone, data, hub, FEW)
    assert sorted(path.name for path in hub.iterdir()) == [HUB_FILE, "task-0000"]
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    tune_hub(backbone, data, hub, FEW)
    tune_hub(backbone, data, tmp_path / "at once", FEW)
    assert _hashes(hub) == _hashes(tmp_path / "at once")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"steps": 4}, "settings"),
        ({"seed": 1}, "settings"),
        ({"rank": 3}, "settings"),
        ({"way": 3}, "settings"),
        ({"lr": 1e-3}, "settings"),
        ({"half": True}, "settings"),
    ],
)
def test_other_settings_do_not_go_into_the_same_hub(
    backbone: Backbone, data: Dataset, tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    hub = tmp_path / "hub"
    one = TuneSettings(**{**vars(FEW), "tasks": 1})
    tune_hub(backbone, data, hub, one)
    before = _hashes(hub)
    with refusal(VisionEdgeError, hub, what):
        tune_hub(backbone, data, hub, TuneSettings(**{**vars(one), **change}))
    assert _hashes(hub) == before


def test_another_backbone_or_other_data_do_not_go_into_the_same_hub(
    backbone: Backbone, data: Dataset, image_folder: Path, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    one = TuneSettings(**{**vars(FEW), "tasks": 1})
    tune_hub(backbone, data, hub, one)
    with refusal(VisionEdgeError, hub, "backbone_sha256"):
        tune_hub(tiny_backbone(seed=1), data, hub, one)
    with refusal(VisionEdgeError, hub, "data"):
        tune_hub(backbone, open_dataset(image_folder, "test"), hub, one)
    brighter = Backbone(backbone.name, backbone.model, PreprocessSpec(size=32, mean=(0, 0, 0)))
    with refusal(VisionEdgeError, hub, "preprocessing"):
        tune_hub(brighter, data, hub, one)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tasks": 0}, "tasks"),
        ({"steps": 0}, "steps"),
        ({"rank": -1}, "-1"),
        ({"batch": 0}, "batch"),
        ({"way": 1}, "way"),
        ({"lr": -1.0}, "-1.0"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "nan"),
        ({"lr": math.inf}, "inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], word: str) -> None:
    with refusal(VisionEdgeError, word):
        TuneSettings(**change)


def test_too_few_classes_are_refused_before_anything_is_written(
    backbone: Backbone, data: Dataset, tmp_path: Path
) -> None:
    with refusal(DataError, data.name, "4 class", "5-way"):
        tune_hub(backbone, data, tmp_path / "hub", TuneSettings(way=5))
    assert not (tmp_path / "hub").exists()


def _folder_of_something(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("precious")


def _file(path: Path) -> None:
    path.write_text("precious")


def _broken_hub(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        (path / HUB_FILE).write_text(text)

    return write


@pytest.mark.parametrize(
    "make",
    [_folder_of_something, _file, _broken_hub("{"), _broken_hub("[1]"), _broken_hub("[" * 100_000)],
)
def test_what_is_not_ours_is_not_written_into(
    backbone: Backbone, data: Dataset, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    make(out)
    before = _hashes(tmp_path)
    with refusal(VisionEdgeError, out):
        tune_hub(backbone, data, out, FEW)
    assert _hashes(tmp_path) == before


def test_an_empty_folder_is_filled(backbone: Backbone, data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    tune_hub(backbone, data, tmp_path / "hub", TuneSettings(**{**vars(FEW), "tasks": 1}))
    assert json.loads((tmp_path / "hub" / HUB_FILE).read_text())["backbone"] == "test_vit"


def test_an_unreadable_image_is_named(backbone: Backbone, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "parts", classes=2, count=3)
    (root / "k01" / "2.png").write_bytes(b"")
    with refusal(ImageError, "k01/2.png", "empty"):
        tune_hub(backbone, open_dataset(root), tmp_path / "hub", FEW)
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [HUB_FILE]


def test_a_loss_that_explodes_is_refused(backbone: Backbone, data: Dataset, tmp_path: Path) -> None:
    settings = TuneSettings(tasks=1, way=2, steps=6, rank=2, batch=4, lr=1e30)
    with refusal(VisionEdgeError, "task-0000", "not finite"):
        tune_hub(backbone, data, tmp_path / "hub", settings)
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [HUB_FILE]
