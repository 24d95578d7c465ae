"""`vision-edge register`: one snapshot makes a product; a refusal registers nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import invoke, invoked, make_bundle, noisy, picture, vision_edge, weights

from vision_edge.runtime.errors import (
    BundleError,
    GalleryError,
    ImageError,
    SourceError,
    VisionEdgeError,
)
from vision_edge.runtime.gallery.gallery import Gallery


def state(path: Path) -> dict[str, list[int]]:
    with Gallery(path) as opened:
        return opened.state()


def test_one_snapshot_is_registered(bundle_path: Path, shots: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "parts.gallery"
    said = invoked("register", bundle_path, "hex nut", shots / "nut.png", "--gallery", path)
    assert "registered 1 snapshot(s) of 'hex nut' (1 in all)" in said
    assert "version 1" in said
    assert "(cpu)" in said
    assert state(path) == {"hex nut": [1]}


def test_more_snapshots_join_the_product(bundle_path: Path, shots: Path, tmp_path: Path) -> None:
    path = tmp_path / "g"
    files = [shots / "nut.png", shots / "bolt.png"]
    invoked("register", bundle_path, "part", *files, "--gallery", path)
    said = invoked("register", bundle_path, "part", shots / "washer.png", "--gallery", path)
    assert "(3 in all)" in said
    assert "version 3" in said
    assert state(path) == {"part": [1, 2, 3]}


def test_a_folder_is_registered_as_one_product(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    said = invoked("register", bundle_path, "part", shots, "--gallery", tmp_path / "g")
    assert "registered 3 snapshot(s)" in said


def test_the_author_is_kept(bundle_path: Path, shots: Path, tmp_path: Path) -> None:
    options = ["--gallery", tmp_path / "g", "--author", "night shift", "--provider", "cpu"]
    invoked("register", bundle_path, "nut", shots / "nut.png", *options)
    with Gallery(tmp_path / "g") as opened:
        assert [event.author for event in opened.events()] == ["night shift"]


def test_the_first_frame_of_a_video_is_registered(bundle_path: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "line.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 96)
    )
    for number in (1, 2, 2):
        writer.write(noisy(picture(number, 96), number))
    writer.release()
    options = ["--source", tmp_path / "line.avi", "--gallery", tmp_path / "g"]
    assert "registered 1 snapshot(s)" in invoked("register", bundle_path, "nut", *options)
    with Gallery(tmp_path / "g") as opened:
        shown = opened.snapshots.image(1).astype(int)
    first, second = (np.abs(shown - picture(number, 96)).mean() for number in (1, 2))
    assert first < 20 < second


def refused(kind: type[VisionEdgeError], *arguments: Any) -> str:
    """Run a command that must be refused with an error of this kind; return its message."""
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 201])
def test_a_label_that_is_none_is_refused_before_anything_is_made(
    bundle_path: Path, shots: Path, tmp_path: Path, label: str
) -> None:
    said = refused(GalleryError, "register", bundle_path, label, shots, "--gallery", tmp_path / "g")
    assert "cannot be a product's name" in said
    assert not (tmp_path / "g").exists()


def test_what_to_register_must_be_said_once(bundle_path: Path, shots: Path, tmp_path: Path) -> None:
    start = ["register", bundle_path, "nut", "--gallery", tmp_path / "g"]
    assert "nothing to register" in refused(VisionEdgeError, *start)
    both = [*start, shots / "nut.png", "--source", "0"]
    assert "both images and --source" in refused(VisionEdgeError, *both)


def test_one_bad_image_registers_none(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes((shots / "nut.png").read_bytes()[:200])
    cv2.imwrite(str(tmp_path / "new.png"), picture(7, 96))
    before = state(registered)
    files = [tmp_path / "new.png", tmp_path / "torn.png"]
    said = refused(ImageError, "register", bundle_path, "nut", *files, "--gallery", registered)
    assert "torn.png" in said
    same = [tmp_path / "new.png", shots / "bolt.png"]
    said = refused(
        GalleryError, "register", bundle_path, "x", *same, "--force", "--gallery", registered
    )
    assert "registered already, as 'bolt'" in said
    assert state(registered) == before


def test_another_models_gallery_is_refused(registered: Path, shots: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", matrix=weights(seed=5))
    said = refused(GalleryError, "register", other, "x", shots, "--gallery", registered)
    assert "made by another model" in said
    assert "reembed" in said


@pytest.mark.parametrize(
    ("source", "message"), [("97", "no camera or stream answers"), ("absent.mp4", "is no camera")]
)
def test_an_absent_source_is_refused(
    bundle_path: Path, tmp_path: Path, source: str, message: str
) -> None:
    options = ["--source", source, "--gallery", tmp_path / "g"]
    assert message in refused(SourceError, "register", bundle_path, "nut", *options)
    assert not (tmp_path / "g").exists()


def test_a_bundle_that_was_tampered_with_is_refused(
    bundle_copy: Path, shots: Path, tmp_path: Path
) -> None:
    (bundle_copy / "model.onnx").write_bytes(b"evil")
    said = refused(BundleError, "register", bundle_copy, "x", shots, "--gallery", tmp_path / "g")
    assert "altered or damaged: 4 bytes" in said
    unknown = ["--gallery", tmp_path / "g", "--provider", "npu"]
    shutil.rmtree(bundle_copy)
    assert "cannot be read" in refused(BundleError, "register", bundle_copy, "x", shots, *unknown)


def test_a_file_whose_name_is_no_utf8_is_registered(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/st\xfcck.png")
    shutil.copy(shots / "nut.png", odd)
    done = vision_edge("register", bundle_path, "nut", odd, "--gallery", tmp_path / "g")
    assert (done.returncode, done.stderr) == (0, "")
    assert state(tmp_path / "g") == {"nut": [1]}
    done = vision_edge("register", bundle_path, "nut", odd, "--gallery", tmp_path / "g")
    assert done.returncode == 1
    assert r"st\udcfcck.png: this very image is registered already, as 'nut'" in done.stderr
