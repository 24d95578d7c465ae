"""What a station's camera saw: a bounded, fading, fair sample beside the products."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.gallery.station_frames import HALF_LIFE, MOST_FRAMES, SeenFrame

MODEL, OTHER = ModelIdentity("a" * 64, 4), ModelIdentity("b" * 64, 4)
NOW = 1.7e9


def frames(first: int, count: int, seen: float = NOW) -> list[SeenFrame]:
    return [
        SeenFrame(np.array([n, 1, 2, 3], np.float32), seen) for n in range(first, first + count)
    ]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "g.db", MODEL, create=True) as opened:
        yield opened


def numbers(gallery: GalleryReader, model: ModelIdentity = MODEL) -> Any:
    return gallery.frames.kept(model).embeddings[:, 0].astype(int)


def test_a_gallery_begins_without_any_and_with_no_table(gallery: Gallery) -> None:
    kept = gallery.frames.kept(MODEL)
    assert kept.embeddings.shape == (0, 4) and kept.since is None and kept.last is None
    assert gallery.frames.count(MODEL) == 0 and gallery.frames.stamp(MODEL) == ""
    assert gallery.forget_frames() == 0


def test_what_was_kept_is_there_when_opened_again(gallery: Gallery) -> None:
    gallery.keep_frames(frames(0, 3))
    with GalleryReader(gallery.path, MODEL) as again:
        kept = again.frames.kept(MODEL)
    assert sorted(kept.embeddings[:, 0]) == [0, 1, 2] and kept.times.tolist() == [1, 1, 1]
    assert kept.since == "2023-11-14T22:13:20+00:00" == kept.last
    assert gallery.version == 0, "no event tells of it"


def test_never_more_than_the_bound_and_each_as_likely_to_stay(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    for first in range(0, 2048, 64):
        gallery.keep_frames(frames(first, 64), rng=rng)
        assert gallery.frames.count(MODEL) <= MOST_FRAMES
    kept = numbers(gallery)
    assert len(kept) == MOST_FRAMES == len(set(kept))
    assert 0.4 < np.mean(kept < 1024) < 0.6, "early and late alike"


def test_frames_of_long_ago_fade(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    gallery.keep_frames(frames(0, 256, NOW - 4 * HALF_LIFE), rng=rng)
    gallery.keep_frames(frames(1000, 512, NOW), rng=rng)
    assert np.mean(numbers(gallery) < 1000) < 0.12


def test_what_comes_again_counts_once_and_is_told(gallery: Gallery) -> None:
    gallery.keep_frames(frames(0, 2))
    kept = gallery.frames.kept(MODEL)
    gallery.keep_frames([], {int(kept.identifiers[0]): 199, 4711: 5})
    again = gallery.frames.kept(MODEL)
    assert len(again.embeddings) == 2 and sorted(again.times) == [1, 200]
    assert again.last is not None and again.last > again.since


def test_each_model_has_its_own_and_clearing_takes_all(gallery: Gallery) -> None:
    gallery.keep_frames(frames(0, 5))
    with gallery._db.transaction():
        gallery.frames.add(OTHER, frames(50, 3), {}, np.random.default_rng())
    assert len(numbers(gallery)) == 5 and len(numbers(gallery, OTHER)) == 3
    assert gallery.forget_frames() == 8
    assert gallery.frames.count(MODEL) == gallery.frames.count(OTHER) == 0


def test_the_stamp_tells_growth_and_clearing_but_not_every_frame(gallery: Gallery) -> None:
    stamps = [gallery.frames.stamp(MODEL)]
    for first in range(200):
        gallery.keep_frames(frames(first, 1))
        stamps.append(gallery.frames.stamp(MODEL))
    assert stamps[0] != stamps[1] and len(set(stamps)) < 40
    gallery.forget_frames()
    assert gallery.frames.stamp(MODEL) == ""
    gallery.keep_frames(frames(0, 1))
    assert gallery.frames.stamp(MODEL) not in stamps[:2]


@pytest.mark.parametrize(
    "bad", [np.zeros(3, np.float32), np.full(4, np.nan, np.float32), np.zeros((1, 4), np.float32)]
)
def test_what_does_not_fit_is_refused_whole(gallery: Gallery, bad: Any) -> None:
    with pytest.raises(GalleryError, match="finite float32"):
        gallery.keep_frames([*frames(0, 2), SeenFrame(bad, time.time())])
    assert gallery.frames.count(MODEL) == 0


def test_a_damaged_frame_is_a_gallery_error(gallery: Gallery) -> None:
    gallery.keep_frames(frames(0, 2))
    gallery._db.rows("UPDATE station_frames SET vector = x'00' WHERE id = 1")
    with pytest.raises(GalleryError, match="damaged"):
        gallery.frames.kept(MODEL)


def test_two_add_to_one_file(gallery: Gallery) -> None:
    with Gallery(gallery.path, MODEL) as second:
        gallery.keep_frames(frames(0, 200))
        second.keep_frames(frames(1000, 200))
        gallery.keep_frames(frames(2000, 10))
    kept = numbers(gallery)
    assert len(kept) == MOST_FRAMES and (kept < 1000).any() and (kept >= 1000).any()


def test_rolling_back_and_exporting_leave_them_alone(gallery: Gallery, tmp_path: Path) -> None:
    from vision_edge.runtime.gallery.archive import write_archive

    picture = Path(__file__).read_bytes()[:50]
    gallery.add("bolt", [Snapshot(picture, np.ones(4, np.float32), "here")])
    gallery.keep_frames(frames(0, 3))
    gallery.rollback(0)
    assert gallery.frames.count(MODEL) == 3
    write_archive(gallery, tmp_path / "archive.zip")
    data = (tmp_path / "archive.zip").read_bytes()
    assert frames(1, 1)[0].embedding.tobytes() not in data, "an archive holds products alone"
