"""The rendered line: the same from the same seed, and its truth true."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.paths import ROOT

from vision_edge.demo.conveyor import (
    PART_NAMES,
    Conveyor,
    ConveyorConfig,
    inspection_window,
    render_snapshot,
    truth_path,
    write_video,
)
from vision_edge.demo.rendered_line import belt_and_camera
from vision_edge.demo.sprites import blur_kernel

SMALL = ConveyorConfig(width=160, height=120, speed=2.0)
STILL = replace(SMALL, drift=0.0, noise=0.0, hand_rate=0.0, empty_rate=0.0)
EXAMPLE = ROOT / "examples" / "conveyor.py"


def line(config: ConveyorConfig = SMALL, **options: Any) -> Conveyor:
    return Conveyor(config, **options)


def test_there_are_many_parts_with_names_of_their_own() -> None:
    assert len(PART_NAMES) >= 14
    assert len(set(PART_NAMES)) == len(PART_NAMES)
    assert all(name == name.lower() and name.isascii() for name in PART_NAMES)


def test_the_same_seed_gives_the_same_bytes() -> None:
    for number in (0, 37, 150):
        (a, truth_a), (b, truth_b) = line(length=200)[number], line(length=200)[number]
        assert np.array_equal(a, b)
        assert truth_a == truth_b


def test_another_seed_gives_another_order_other_poses_and_another_light() -> None:
    other = replace(SMALL, seed=1)
    here, there = line(passes=2), line(other, passes=2)
    assert [p.label for p in here.schedule.parts] != [p.label for p in there.schedule.parts]
    assert not np.array_equal(here[40][0], there[40][0])
    lights = [belt_and_camera(config)[1].gains(40) for config in (SMALL, other)]
    assert lights[0] != lights[1]


def test_a_frame_does_not_depend_on_those_before_it() -> None:
    in_order = [image for image, _ in line(length=90)]
    assert len(in_order) == 90
    alone = line(length=90)
    for number in (89, 3, 50):
        assert np.array_equal(alone[number][0], in_order[number])


def test_a_longer_video_begins_with_the_shorter_one() -> None:
    short, long = line(length=150), line(length=700)
    assert np.array_equal(short[149][0], long[149][0])
    assert [short.truth(k) for k in range(150)] == [long.truth(k) for k in range(150)]


def test_a_returned_frame_is_the_callers_own() -> None:
    conveyor = line(length=60)
    first = conveyor[30][0]
    first[:] = 0
    assert conveyor[30][0].any()


def test_frames_are_bytes_in_bgr_of_the_size_asked_for() -> None:
    image, truth = line(length=30)[12]
    assert image.shape == (120, 160, 3)
    assert image.dtype == np.uint8
    assert truth.frame == 12
    yellow, _ = render_snapshot("star_knob", 0, STILL)
    middle = yellow[20:50, 20:50].reshape(-1, 3)
    blue, _, red = middle[middle.max(axis=1) > 150].mean(axis=0)
    assert red > blue + 50


@pytest.mark.parametrize("label", PART_NAMES)
@pytest.mark.parametrize("moment", [16, 50])  # entering; all in the frame
def test_boxes_hold_the_parts_pixels_and_little_else(label: str, moment: int) -> None:
    image, truth = line(STILL, parts=(label,))[moment]
    belt, camera = belt_and_camera(STILL)
    empty = camera.expose(belt.view(round(moment * STILL.speed)), moment)
    # Shadows only darken: what is lighter in any channel than the bare belt is the part.
    rows, columns = np.nonzero((image.astype(int) - empty).max(axis=2) > 22)
    (part,) = truth.parts
    x0, y0, x1, y1 = part.bbox
    assert part.label == label
    assert x0 - 1 <= columns.min() <= x0 + 5
    assert x1 - 6 <= columns.max() <= x1
    assert y0 - 1 <= rows.min() <= y0 + 5
    assert y1 - 6 <= rows.max() <= y1
    assert (part.visible_fraction == 1.0) == (x0 > 0)


def test_truth_stays_in_bounds_and_at_most_one_part_is_centred() -> None:
    conveyor = line(passes=2)
    x0, y0, x1, y1 = inspection_window(SMALL)
    centred: set[int] = set()
    for number in range(len(conveyor)):
        truth = conveyor.truth(number)
        inside = [part for part in truth.parts if part.centred]
        assert len(inside) <= 1
        for part in truth.parts:
            assert 0 <= part.bbox[0] < part.bbox[2] <= SMALL.width
            assert 0 <= part.bbox[1] < part.bbox[3] <= SMALL.height
            assert 0.0 <= part.visible_fraction <= 1.0
        for part in inside:
            assert x0 <= part.bbox[0] < part.bbox[2] <= x1
            assert y0 <= part.bbox[1] < part.bbox[3] <= y1
        centred.update(part.instance for part in inside)
    assert centred == {item.instance for item in conveyor.schedule.parts}
    assert not conveyor.truth(len(conveyor) - 1).parts


def test_every_round_holds_every_part_once_and_none_follows_itself() -> None:
    labels = [item.label for item in line(parts=PART_NAMES[:3], passes=20).schedule.parts]
    assert all(set(labels[k : k + 3]) == set(PART_NAMES[:3]) for k in range(0, 60, 3))
    assert all(a != b for a, b in pairwise(labels))
    assert [item.instance for item in line(passes=2).schedule.parts] == list(range(36))


def test_parts_are_large_enough_to_recognise_at_the_default_size() -> None:
    config = ConveyorConfig()
    assert inspection_window(config) == (170, 90, 470, 390)
    for label in PART_NAMES:
        crop, truth = render_snapshot(label, 4, config)
        assert crop.shape == (300, 300, 3)
        assert crop.flags.c_contiguous
        assert truth.centred
        assert truth.instance == -1
        assert max(truth.bbox[2] - truth.bbox[0], truth.bbox[3] - truth.bbox[1]) >= 96


def test_snapshots_differ_by_seed_and_repeat_by_seed() -> None:
    first, again = (render_snapshot("spur_gear", 5, SMALL)[0] for _ in range(2))
    other = render_snapshot("spur_gear", 6, SMALL)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_hands_come_and_are_flagged_and_hide_parts() -> None:
    conveyor = line(replace(SMALL, hand_rate=0.5), passes=1)
    without = line(replace(SMALL, hand_rate=0.0), passes=1)
    flagged = [k for k in range(len(conveyor)) if conveyor.truth(k).hand]
    assert 0 < len(flagged) < len(conveyor)
    assert not any(without.truth(k).hand for k in range(0, len(without), 5))
    hidden = 0
    for number in range(0, len(conveyor), 7):
        if number in flagged:
            assert not np.array_equal(conveyor[number][0], without[number][0])
        pairs = zip(conveyor.truth(number).parts, without.truth(number).parts, strict=True)
        hidden += any(a.visible_fraction < b.visible_fraction - 0.1 for a, b in pairs)
    assert hidden > 0


def test_there_are_stretches_of_empty_belt() -> None:
    conveyor = line(replace(SMALL, empty_rate=0.5), passes=1)
    middle = range(60, len(conveyor) - 80)
    assert any(not conveyor.truth(number).parts for number in middle)


def test_light_drifts_and_noise_is_as_strong_as_asked_for() -> None:
    gains = [belt_and_camera(SMALL)[1].gains(k)[1] for k in range(0, 1500, 10)]
    assert max(gains) - min(gains) > 0.05
    noisy = replace(STILL, noise=4.0)
    difference = line(noisy, length=5)[2][0][20:-20] - line(STILL, length=5)[2][0][20:-20] * 1.0
    assert float(difference.std()) == pytest.approx(4.0, abs=0.6)


def test_every_frame_says_that_it_is_rendered() -> None:
    corner = line(STILL, length=3)[1][0][-14:, -60:]
    elsewhere = line(STILL, length=3)[1][0][-14:, 10:70]
    letters, rail = (int((part.min(axis=2) > 120).sum()) for part in (corner, elsewhere))
    assert letters > rail + 60


@pytest.mark.parametrize("length", [0.3, 1.0, 1.8, 2.0, 5.5])
def test_motion_blur_keeps_the_light_and_has_the_length_asked_for(length: float) -> None:
    kernel = blur_kernel(length)
    assert kernel.shape[1] % 2 == 1
    assert float(kernel.sum()) == pytest.approx(1.0)
    assert float((kernel > 0.5 * kernel.max()).sum()) == pytest.approx(max(1.0, length), abs=1.01)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 1.5),
        ("width", 10),
        ("height", True),
        ("fps", 0.0),
        ("speed", 0.0),
        ("speed", 40.0),
        ("speed", math.nan),
        ("spacing", 0.4),
        ("empty_rate", 1.5),
        ("hand_rate", -0.1),
        ("drift", 9.0),
        ("noise", -2.0),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_value(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field} must be .*got {value!r}"):
        replace(ConveyorConfig(), **{field: value})


def test_settings_and_truth_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        SMALL.seed = 3  # type: ignore[misc]
    assert hash(SMALL) == hash(replace(SMALL))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ()}, "at least one"),
        ({"parts": "washer"}, "sequence of labels"),
        ({"parts": ("washer", "washer")}, "raise passes"),
        ({"parts": ("banana",)}, "unknown part 'banana'.*washer"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"length": 0}, "length must be at least 1, got 0"),
    ],
)
def test_a_bad_conveyor_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        line(**options)


def test_what_does_not_exist_is_refused() -> None:
    conveyor = line(length=10)
    for number in (-1, 10):
        with pytest.raises(IndexError, match=f"0 to 9, got {number}"):
            conveyor[number]
    with pytest.raises(ValueError, match="unknown part"):
        render_snapshot("banana", 0, SMALL)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        render_snapshot("washer", -1, SMALL)


def test_a_video_is_readable_and_has_a_row_of_truth_a_frame(tmp_path: Path) -> None:
    conveyor = line(length=40)
    truth = write_video(tmp_path / "line.mp4", conveyor, 25)
    assert truth == truth_path(tmp_path / "line.mp4") == tmp_path / "line.mp4.truth.jsonl"
    assert {path.name for path in tmp_path.iterdir()} == {"line.mp4", "line.mp4.truth.jsonl"}
    rows = [json.loads(row) for row in truth.read_text(encoding="utf-8").splitlines()]
    video = cv2.VideoCapture(str(tmp_path / "line.mp4"))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    assert len(frames) == len(rows) == 25
    assert [row["frame"] for row in rows] == list(range(25))
    assert set(rows[20]) == {"frame", "parts", "hand"}
    keys = {"instance", "label", "bbox", "visible_fraction", "centred"}
    assert set(rows[20]["parts"][0]) == keys
    assert np.abs(frames[20] - conveyor[20][0] * 1.0).mean() < 6.0


def test_a_failed_recording_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conveyor = line(length=10)
    monkeypatch.setattr(Conveyor, "truth", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "line.mp4", conveyor)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "count"), [("line.avi", None), ("line.mp4", 0), ("line.mp4", 11)])
def test_a_bad_recording_is_refused(tmp_path: Path, name: str, count: int | None) -> None:
    with pytest.raises(ValueError, match="must"):
        write_video(tmp_path / name, line(length=10), count)
    assert not list(tmp_path.iterdir())


def test_the_example_films_parts_strangers_and_snapshots(tmp_path: Path) -> None:
    video = tmp_path / "line.mp4"
    size = ["--seconds", "0.5", "--width", "160", "--height", "120", "--speed", "3"]
    choice = ["--parts", "washer,hex_nut", "--strangers", "o_ring"]
    command = [sys.executable, str(EXAMPLE), str(video), *size, *choice]
    subprocess.run([*command, "--snapshots", str(tmp_path / "s")], check=True, capture_output=True)
    assert len(truth_path(video).read_text(encoding="utf-8").splitlines()) == 15
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"washer.png", "hex_nut.png"}
    failed = subprocess.run([*command, "--seed", "-4"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "seed must be at least 0, got -4" in failed.stderr
    assert "Traceback" not in failed.stderr
