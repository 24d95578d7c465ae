import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.recycle import headed, inverted, pool_in
from support.toolkit import leftovers, refusal, tiny_backbone

from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.pool import pool as pool_module
from vision_edge.toolkit.pool.pool import KEY, POOL_FILE, Pool, existing_pool, open_pool, read_part

SETTINGS = InversionSettings(per_class=4, pruning=Pruning(((1, 0.5),)))


def _open(folder: Path, backbone: Backbone) -> Pool:
    return open_pool(folder, backbone, SETTINGS.document(), "photos", "noise")


def _one(folder: Path, backbone: Backbone) -> Path:
    """A pool of one part; the part's path."""
    (part,) = pool_in(folder, backbone, [inverted()]).parts()
    return part.path


# --- there and back --------------------------------------------------------------------------


def test_what_is_added_is_read(backbone: Backbone, tmp_path: Path) -> None:
    adapter, made = headed("bolts", 1), inverted(seed=1)
    pool = _open(tmp_path / "pool", backbone)
    pool.add(adapter, made)
    for part in (pool.read(adapter), *existing_pool(tmp_path / "pool", backbone).parts()):
        for name in ("labels", "logits", "order"):
            np.testing.assert_array_equal(getattr(part, name), getattr(made, name))
            assert getattr(part, name).dtype == getattr(made, name).dtype
        np.testing.assert_array_equal(part.images(), made.images)
        assert part.images().dtype == np.uint8
        assert (part.name, part.sha256) == (adapter.name, adapter.sha256)
        assert part.classes == ("bolts-0", "bolts-1", "bolts-2")
        assert part.way == 3
        assert part.facts["agreement"] == made.agreement
        assert (part.facts["cross_entropy"], part.facts["prior"]) == (0.25, 1.5)
    assert leftovers(tmp_path) == []


def test_rows_read_one_by_one_are_those_of_the_whole(backbone: Backbone, tmp_path: Path) -> None:
    made = inverted(way=4, per_class=3)
    (part,) = pool_in(tmp_path / "pool", backbone, [made]).parts()
    for rows in ([0], [11], [5, 2, 2, 9], list(range(12))):
        np.testing.assert_array_equal(part.images(np.array(rows)), made.images[rows])


def test_the_same_images_give_the_same_bytes(backbone: Backbone, tmp_path: Path) -> None:
    first, second = (_one(tmp_path / name, backbone) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name


def test_parts_come_in_the_order_of_their_names(backbone: Backbone, tmp_path: Path) -> None:
    pool = _open(tmp_path / "pool", backbone)
    for name in ("c", "a", "b"):
        pool.add(headed(name), inverted())
    assert [part.name for part in pool.parts()] == ["a", "b", "c"]


# --- going on --------------------------------------------------------------------------------


def test_a_pool_is_resumed(backbone: Backbone, tmp_path: Path) -> None:
    one, two = headed("one", 1), headed("two", 2)
    pool = _open(tmp_path / "pool", backbone)
    assert not pool.has(one)
    pool.add(one, inverted())
    before = (tmp_path / "pool" / POOL_FILE).read_bytes()
    again = _open(tmp_path / "pool", backbone)
    assert again.has(one)
    assert not again.has(two)
    assert (tmp_path / "pool" / POOL_FILE).read_bytes() == before


def test_an_adapter_of_other_weights_is_another(backbone: Backbone, tmp_path: Path) -> None:
    pool, adapter = _open(tmp_path / "pool", backbone), headed("one", 1)
    pool.add(adapter, inverted())
    assert not pool.has(replace(adapter, sha256="0" * 64))
    assert not pool.has(replace(adapter, name="two"))


def test_a_part_is_written_whole_or_not_at_all(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, adapter = _open(tmp_path / "pool", backbone), headed("one", 1)

    def interrupted(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pool_module, "write_safetensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.add(adapter, inverted())
    assert not pool.has(adapter)
    assert pool.parts() == []
    assert leftovers(tmp_path) == []


def test_an_empty_folder_becomes_a_pool(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    _open(tmp_path / "pool", backbone)
    claim = json.loads((tmp_path / "pool" / POOL_FILE).read_text())
    assert claim["backbone"] == backbone.name
    assert claim["backbone_sha256"] == backbone.sha256
    assert (claim["prior"], claim["start"]) == ("photos", "noise")
    assert claim["settings"]["pruning"] == "1:0.5"


# --- other backbones and settings ------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iterations": 501}, ("settings", "501")),
        ({"seed": 1}, ("settings",)),
        ({"pruning": Pruning()}, ("settings",)),
    ],
)
def test_other_settings_are_refused(
    backbone: Backbone, tmp_path: Path, change: dict[str, object], words: tuple[str, ...]
) -> None:
    folder = tmp_path / "pool"
    _open(folder, backbone)
    changed = replace(SETTINGS, **change)  # type: ignore[arg-type]
    with refusal(DataError, folder, *words):
        open_pool(folder, backbone, changed.document(), "photos", "noise")


def test_another_prior_start_or_backbone_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    _open(folder, backbone)
    with refusal(DataError, folder, "prior", "photos", "paintings"):
        open_pool(folder, backbone, SETTINGS.document(), "paintings", "noise")
    with refusal(DataError, folder, "start", "noise", "frames"):
        open_pool(folder, backbone, SETTINGS.document(), "photos", "frames")
    other = tiny_backbone(seed=1)
    with refusal(DataError, folder, "backbone_sha256"):
        _open(folder, other)
    with refusal(DataError, folder, "backbone", "test_vit"):
        existing_pool(folder, other)
    renamed = Backbone("other", backbone.model, backbone.spec)
    with refusal(DataError, folder, "backbone", "other"):
        _open(folder, renamed)
    assert existing_pool(folder, renamed).claim["backbone"] == "test_vit", "weights are what counts"


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_broken_claim_is_named(backbone: Backbone, tmp_path: Path, content: str) -> None:
    (tmp_path / POOL_FILE).write_text(content)
    with refusal(DataError, tmp_path / POOL_FILE, "JSON"):
        _open(tmp_path, backbone)
    with refusal(DataError, tmp_path / POOL_FILE, "JSON"):
        existing_pool(tmp_path, backbone)


def test_a_claim_that_is_none_is_of_another_backbone(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / POOL_FILE).write_text("[1]")
    with refusal(DataError, tmp_path, "backbone"):
        _open(tmp_path, backbone)


def _of_something(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")


def _file(folder: Path) -> None:
    folder.write_text("precious")


@pytest.mark.parametrize("make", [_of_something, _file])
def test_what_is_no_pool_is_not_written_into(
    backbone: Backbone, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "x")
    before = sorted(path for path in tmp_path.rglob("*"))
    with refusal(DataError, tmp_path / "x"):
        _open(tmp_path / "x", backbone)
    with refusal(DataError, tmp_path / "x", POOL_FILE):
        existing_pool(tmp_path / "x", backbone)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_an_absent_folder_is_no_pool(backbone: Backbone, tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "no", "no pool"):
        existing_pool(tmp_path / "no", backbone)


# --- damaged parts ---------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 5, 100, 2000, -1])
def test_a_truncated_part_is_named(backbone: Backbone, tmp_path: Path, kept: int) -> None:
    path = _one(tmp_path / "pool", backbone)
    path.write_bytes(path.read_bytes()[:kept])
    with refusal(DataError, path, "truncated"):
        read_part(path)
    with refusal(DataError, path):
        existing_pool(tmp_path / "pool", backbone).parts()


def test_a_part_that_vanished_is_named(backbone: Backbone, tmp_path: Path) -> None:
    path = _one(tmp_path / "pool", backbone)
    part = read_part(path)
    path.unlink()
    with refusal(DataError, path):
        read_part(path)
    with refusal(DataError, path):
        part.images(np.array([0]))
    with refusal(DataError, path):
        existing_pool(tmp_path / "pool", backbone).read(headed("a0", 0))


def _without_order(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["order"]


def _without_images(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["images"]


def _fewer_labels(tensors: dict[str, torch.Tensor]) -> None:
    tensors["labels"] = tensors["labels"][:-1]


def _flat_images(tensors: dict[str, torch.Tensor]) -> None:
    tensors["images"] = tensors["images"].flatten(1)


def _flat_logits(tensors: dict[str, torch.Tensor]) -> None:
    tensors["logits"] = tensors["logits"][:, 0].contiguous()


@pytest.mark.parametrize(
    "spoil", [_without_order, _without_images, _fewer_labels, _flat_images, _flat_logits]
)
def test_a_part_of_another_form_is_named(
    backbone: Backbone, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    path = _one(tmp_path / "pool", backbone)
    facts = json.dumps(read_part(path).facts)
    tensors = load_file(path)
    spoil(tensors)
    save_file(tensors, path, metadata={KEY: facts})
    with refusal(DataError, path):
        read_part(path)


@pytest.mark.parametrize("facts", [None, "{", "{}", "[1]", '{"name": "x", "sha256": "y"}'])
def test_a_part_without_its_facts_is_named(
    backbone: Backbone, tmp_path: Path, facts: str | None
) -> None:
    path = _one(tmp_path / "pool", backbone)
    save_file(load_file(path), path, metadata={} if facts is None else {KEY: facts})
    with refusal(DataError, path):
        read_part(path)
