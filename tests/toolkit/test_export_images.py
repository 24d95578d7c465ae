"""Where calibration images come from, and which labelled ones the gate takes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.recycle import inverted, pool_in
from support.toolkit import SIZE, class_folders, image_of, refusal

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import DataError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.export_images import MAX_PER_CLASS, calibration_images, gate_data

SPEC = PreprocessSpec(size=SIZE)


def _gallery(path: Path, count: int) -> Path:
    model = ModelIdentity("a" * 64, 4)
    with Gallery(path, model, create=True) as gallery:
        for index in range(count):
            jpeg = encode_jpeg(image_of(index % 6, index))
            vector = np.full(4, index + 1, np.float32)
            gallery.add(f"product {index % 3}", [Snapshot(jpeg, vector, "test")])
    return path


def test_a_folder_s_images(image_folder: Path) -> None:
    found = calibration_images(image_folder)
    assert len(found.images) == 4 * 8 + 3 * 8
    assert found.source == f"images of {image_folder.name}"
    assert len(calibration_images(image_folder, limit=10).images) == 10


def test_a_pool_s_images_some_of_each_part(backbone: Backbone, tmp_path: Path) -> None:
    made = [inverted(way=3, per_class=4, seed=seed) for seed in (1, 2)]
    pool_in(tmp_path / "pool", backbone, made)
    found = calibration_images(tmp_path / "pool", limit=10)
    assert found.source == "synthetic pool pool"
    known = [{image.tobytes() for image in part.images} for part in made]
    of_each = [sum(image.tobytes() in part for image in found.images) for part in known]
    assert of_each == [5, 5]
    assert len(calibration_images(tmp_path / "pool").images) == 24


def test_a_gallery_s_snapshots_whatever_its_name(tmp_path: Path) -> None:
    path = _gallery(tmp_path / "station.db", 7)
    found = calibration_images(path)
    assert found.source == "snapshots of station.db"
    assert len(found.images) == 7
    error = np.abs(found.images[0].astype(int) - image_of(0, 0)).mean()
    assert error < 12, "a JPEG of the picture that was registered"
    assert len(calibration_images(path, limit=3).images) == 3


def test_what_holds_no_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "pool.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("SQLite is nice")
    for name in ("empty", "pool", "notes.txt", "absent"):
        with refusal(DataError, tmp_path / name):
            calibration_images(tmp_path / name)
    with refusal(DataError, "no product"):
        calibration_images(_gallery(tmp_path / "new.gallery", 0))


def test_labelled_images_are_some_of_each_class_of_the_test_split(image_folder: Path) -> None:
    data = gate_data(image_folder, None, SPEC)
    assert data.source.endswith("/test")
    assert [len(rows) for rows in data.members()] == [8, 8, 8]
    assert (data.images.shape, data.own_views) == ((24, SIZE, SIZE, 3), False)
    assert len(gate_data(image_folder, "train", SPEC).members()) == 4


def test_of_large_classes_a_fixed_draw_is_taken(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", classes=2, count=MAX_PER_CLASS + 3)
    first, again = gate_data(folder, None, SPEC), gate_data(folder, None, SPEC)
    assert [len(rows) for rows in first.members()] == [MAX_PER_CLASS] * 2
    np.testing.assert_array_equal(first.images, again.images)


def test_classes_of_one_image_cannot_make_an_episode(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "d", classes=3, count=1)
    with refusal(DataError, "two classes of two"):
        gate_data(folder, None, SPEC)
    cv2.imwrite(str(folder / "k00" / "more.png"), image_of(0, 9))
    with pytest.raises(DataError):
        gate_data(folder, None, SPEC)
    cv2.imwrite(str(folder / "k01" / "more.png"), image_of(1, 9))
    assert len(gate_data(folder, None, SPEC).members()) == 2
