"""Registration: bad, wrong and odd pictures are refused, with the reason, before they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from support.runtime import FakeEmbedder, invoke, invoked, noisy, picture

from vision_edge.runtime.errors import RegistrationError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.outliers import odd_ones
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.crops import CROPS, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot


def shot(folder: Path, number: int, seed: int = 50, amount: int = 12) -> Path:
    path = folder / f"{number}-{seed}.png"
    assert cv2.imwrite(str(path), noisy(picture(number, 96), seed, amount))
    return path


def refused(*arguments: Any) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, RegistrationError), result.exception
    return str(result.exception)


def test_a_snapshots_embedding_is_the_mean_of_its_views_in_one_inference() -> None:
    embedder, image = FakeEmbedder(), picture(3, 100)
    got = embed_snapshot(embedder, image)
    assert embedder.batches == [len(CROPS)]
    views = [prepare(cropped(image, share), embedder.spec) for share in CROPS]
    assert np.allclose(got, embedder.embed(np.stack(views)).mean(axis=0))
    assert [cropped(image, share).shape[0] for share in CROPS] == [100, 85, 70]


def test_a_bad_picture_is_refused_with_what_is_wrong_and_force_registers_it(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), picture(7, 96) // 10)
    command = ["register", bundle_path, "gear", dark, "--gallery", registered]
    with Gallery(registered) as before:
        version = before.version
    said = refused(*command)
    assert "dark.png: too dark: its brightest parts reach" in said
    assert "add light" in said
    with Gallery(registered) as after:
        assert after.version == version
    assert "registered 1 snapshot(s) of 'gear'" in invoked(*command, "--force")


def test_a_picture_too_similar_to_another_product_is_refused_with_its_score(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    again = shot(tmp_path, 1)  # another shot of the nut
    command = ["register", bundle_path, "gear", again, "--gallery", registered]
    assert "too similar to product 'nut' (score " in refused(*command)
    invoked(*command, "--force")
    with Gallery(registered) as opened:
        assert list(opened.state()) == ["bolt", "nut", "washer", "gear"]


def test_an_outlier_among_a_products_snapshots_is_refused(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    other = shot(tmp_path, 33)
    said = refused("register", bundle_path, "nut", other, "--gallery", registered)
    assert "unlike the other snapshots of 'nut'" in said


def test_more_snapshots_make_a_better_prototype(
    bundle_path: Path, tmp_path: Path, session: Session
) -> None:
    image = picture(1, 96) // 2
    truth = embed_snapshot(session, image)
    distances = []
    for percent in (70, 130, 90, 110, 80, 120):  # the light changes from snapshot to snapshot
        file = tmp_path / f"{percent}.png"
        cv2.imwrite(str(file), (image * (percent / 100)).astype(np.uint8))
        invoked("register", bundle_path, "nut", file, "--gallery", tmp_path / "g")
        with Gallery(tmp_path / "g") as opened:
            distances.append(float(np.linalg.norm(opened.prototypes()[1][0] - truth)))
    assert distances[-1] < 0.8 * distances[0]


def test_a_negative_is_no_longer_taken_for_the_product(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    lookalike = tmp_path / "lookalike.png"
    image = picture(1, 96)
    image[:24, :24] = 255 - image[:24, :24]
    cv2.imwrite(str(lookalike), image)
    run = ["run", bundle_path, lookalike, "--gallery", registered, "--far", "0.3"]
    assert "  nut  score" in invoked(*run)
    said = invoked("register", bundle_path, "nut", lookalike, "--negative", "--gallery", registered)
    assert "registered 1 snapshot(s) that are not 'nut'" in said
    assert "  nut  score" not in invoked(*run)
    nut = shot(tmp_path, 1)
    assert "  nut  score" in invoked("run", bundle_path, nut, "--gallery", registered)


def test_what_is_no_product_at_all_is_unknown_whatever_it_resembles(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    belt = shot(tmp_path, 40)
    invoked("register", bundle_path, "*", belt, "--negative", "--gallery", registered)
    said = invoked("run", bundle_path, belt, "--gallery", registered, "--closed-set")
    assert "unknown (nearest" in said
    with Gallery(registered) as opened:
        assert list(opened.contents().negatives.values()) == [None]


def test_a_part_is_cut_out_where_the_empty_scene_is_known(
    bundle_path: Path, tmp_path: Path
) -> None:
    empty = np.full((240, 320, 3), 90, np.uint8)
    empty[::9] = 120
    scene = empty.copy()
    scene[60:160, 120:220] = noisy(picture(2, 100), 1)
    cv2.imwrite(str(tmp_path / "empty.png"), empty)
    cv2.imwrite(str(tmp_path / "scene.png"), scene)
    start = ["register", bundle_path, "nut", "--gallery", tmp_path / "g"]
    invoked(*start, tmp_path / "scene.png", "--empty", tmp_path / "empty.png")
    with Gallery(tmp_path / "g") as opened:
        height, width = opened.snapshots.image(1).shape[:2]
    assert height == width <= 150
    said = refused(*start, tmp_path / "empty.png", "--empty", tmp_path / "empty.png")
    assert "no part" in said


def test_odd_snapshots_are_found_where_there_are_enough_to_tell(
    gallery: Gallery, session: Session
) -> None:
    def snapshot(seed: int, offset: float) -> Snapshot:
        vector = np.random.default_rng(seed).normal(0, 1, 16).astype(np.float32) + offset
        return Snapshot(b"jpeg %d" % seed, vector, "x")

    gallery.add("few", [snapshot(k, 5.0 * k) for k in range(3)])
    gallery.add("many", [snapshot(10 + k, 0.0) for k in range(6)])
    assert odd_ones(gallery) == {}
    gallery.add("many", [snapshot(20, 9.0)])
    assert list(odd_ones(gallery)) == [10]
