"""A burst: sharp, different pictures of a part that is turned; one registration."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parts import empty_belt, laid_out
from support.runtime import FakeEmbedder, FakeSource, invoke, invoked, noisy, picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import RegistrationError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.burst import KEPT, SLOTS, Burst, take_burst, worth_keeping
from vision_edge.runtime.recognition.view_selection import differing
from vision_edge.runtime.sources.frame import Frame


def blurred(image: Image) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 12)


def burst_of(shown: list[Image], *, live: bool = False, seconds: float = 4.0) -> FakeSource:
    """A camera or video that shows the pictures over so many seconds."""
    step = seconds / len(shown)
    frames = [Frame(image, "belt", n, 100 + n * step) for n, image in enumerate(shown)]
    source = FakeSource(frames, live=live)
    source.fps = 1 / step
    return source


def test_of_each_moment_the_sharpest_picture_is_looked_at() -> None:
    sharp = [noisy(picture(n // 4, 96), n) for n in range(48)]
    shown = [image if n % 4 == 2 else blurred(image) for n, image in enumerate(sharp)]
    burst = Burst(4.0, force=True)
    pictures = take_burst(burst_of(shown), burst)
    assert burst.frames == 48
    assert len(pictures) == SLOTS
    for slot, taken in enumerate(pictures):
        assert np.array_equal(taken.image, sharp[4 * slot + 2])


def test_blurred_frames_do_not_count_and_if_all_are_it_is_said_what_is_wrong() -> None:
    shown = [blurred(picture(1, 96))] * 10
    with pytest.raises(RegistrationError, match=r"none of the burst's 10 frame.*blurred") as caught:
        take_burst(burst_of(shown), Burst(4.0))
    assert "hold still" in str(caught.value)
    assert take_burst(burst_of(shown), Burst(4.0, force=True))
    with pytest.raises(RegistrationError, match="no frames"):
        take_burst(FakeSource([]), Burst(4.0))


def test_it_begins_with_the_first_settled_frame_and_ends_after_its_seconds() -> None:
    shown = [noisy(picture(n, 96), n) for n in range(40)]
    burst = Burst(1.0)
    take_burst(burst_of(shown, live=True), burst, settle=5)
    assert burst.frames == 10  # of a frame each tenth of a second
    late = Burst(1.0)
    take_burst(burst_of(shown, live=True), late, after=102.05)
    assert late.frames == 10
    video = Burst(2.0)
    take_burst(burst_of(shown), video)
    assert video.frames == 20


def test_the_few_that_stand_for_all_are_kept() -> None:
    """Three views, each for a while: all three are among those kept."""
    shown = [noisy(picture(n // 4, 96), n, 3) for n in range(12)]
    pictures = take_burst(burst_of(shown), Burst(4.0))
    snapshots = worth_keeping(pictures, FakeEmbedder())
    assert len(snapshots) == KEPT
    order = [[p.image.tobytes() for p in pictures].index(p.image.tobytes()) for p in pictures]
    assert order == sorted(order)
    embedder = FakeEmbedder()
    every = [worth_keeping([p], embedder)[0].embedding for p in pictures]
    rows = [int(np.argmin([np.linalg.norm(e - s.embedding) for e in every])) for s in snapshots]
    assert {row // 4 for row in rows} == {0, 1, 2}
    assert rows == sorted(rows)


def test_a_part_that_stands_still_is_registered_once() -> None:
    shown = [picture(1, 96)] * 20
    assert len(worth_keeping(take_burst(burst_of(shown), Burst(4.0)), FakeEmbedder())) == 1


@given(st.integers(0, 999), st.integers(1, 30), st.integers(1, 10))
def test_the_chosen_are_distinct_and_cover_as_well_as_any_first_ones(
    seed: int, count: int, most: int
) -> None:
    points = np.random.default_rng(seed).normal(0, 1, (count, 3)).astype(np.float32)
    chosen = differing(points, most)
    assert len(set(chosen)) == len(chosen) == min(most, count)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert chosen[0] == apart.sum(axis=0).argmin()
    cover = [apart[:, chosen[: k + 1]].min(axis=1).sum() for k in range(len(chosen))]
    assert all(a >= b - 1e-5 for a, b in pairwise(cover))


def test_equal_pictures_are_chosen_once() -> None:
    points = np.random.default_rng(0).normal(0, 30, (3, 8)).astype(np.float32)
    assert sorted(row % 3 for row in differing(np.tile(points, (4, 1)), 8)) == [0, 1, 2]
    assert differing(np.zeros((4, 8), np.float32), 3) == [0]


def test_an_odd_picture_is_not_what_is_looked_for() -> None:
    rng = np.random.default_rng(0)
    views = [rng.normal(centre, 0.05, (6, 4)) for centre in (0.0, 1.0, 2.0)]
    points = np.concatenate([*views, np.full((1, 4), 2.9)]).astype(np.float32)
    assert 18 not in differing(points, 3)


@pytest.mark.parametrize("seconds", [0.0, 0.4, 61.0, float("nan")])
def test_a_burst_lasts_a_sensible_while(seconds: float) -> None:
    with pytest.raises(VisionEdgeError, match="a burst lasts"):
        Burst(seconds)


@pytest.fixture
def turning(tmp_path: Path) -> Path:
    """A video of a part that is turned: three views in two seconds."""
    path = tmp_path / "turning.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 96))  # type: ignore[attr-defined]
    for number in range(24):
        writer.write(noisy(picture(30 + number // 8, 96), number, 4))
    writer.release()
    return path


def test_the_command_registers_a_burst_as_one_change(
    bundle_path: Path, turning: Path, tmp_path: Path
) -> None:
    path = tmp_path / "g"
    command = ["register", bundle_path, "gear", "--gallery", path]
    said = invoked(*command, "--source", turning, "--burst", "2.4")
    assert "turn the part for 2.4 s" in said
    assert "registered 5 snapshot(s) of 'gear' (5 in all)" in said
    with Gallery(path) as opened:
        assert [event.kind for event in opened.events()] == ["add"] * 5


def test_what_makes_no_sense_with_a_burst_is_not_ignored(
    bundle_path: Path, turning: Path, shots: Path, tmp_path: Path
) -> None:
    command = ["register", bundle_path, "gear", "--gallery", tmp_path / "g", "--burst", "2"]
    for wrong, said in (
        ([], "--burst"),
        (["--source", turning, shots / "nut.png"], "both images and --source were given"),
        (["--source", turning, "--shots", "3"], "--shots"),
        (["--source", turning, "--catalogue"], "--catalogue"),
        (["--source", turning, "--burst", "0.1"], "a burst lasts from 0.5 to 60 seconds"),
    ):
        result = invoke(*command, *wrong)
        assert isinstance(result.exception, VisionEdgeError), result.output
        assert said in str(result.exception)
    assert not (tmp_path / "g").exists()


def test_a_burst_of_several_parts_says_what_is_to_be_done_there() -> None:
    canvas, _ = laid_out()
    with pytest.raises(
        RegistrationError, match=r"4 of the burst's 4 frame.*several parts"
    ) as caught:
        take_burst(burst_of([canvas] * 4), Burst(4.0, Presence(empty_belt())))
    assert "alone in view" in str(caught.value)
    assert " at " not in str(caught.value), "where parts lay while they were turned helps nobody"
