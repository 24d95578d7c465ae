"""The camera assistant: speed, frames of a passage, size and trigger, with advice that fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.runtime import invoke, invoked, noisy, picture

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.camera_check import Advice, CameraCheck, CameraReport
from vision_edge.runtime.sources.frame import Frame

WIDTH, HEIGHT = 640, 360
BELT = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
BELT[::8] = 90


def scene(number: int, x: int, side: int) -> np.ndarray:
    image = noisy(BELT, number, 2)
    part, left, right = noisy(picture(1, side), number), max(0, x), min(WIDTH, x + side)
    if left < right:
        image[100 : 100 + side, left:right] = part[:, left - x : right - x]
    return image


def passing(speed: float, rate: float, side: int = 120, seconds: float = 3.0) -> Iterator[Frame]:
    for k in range(round(seconds * rate)):
        x = round(speed * k / rate) % (WIDTH + side) - side
        yield Frame(scene(k, x, side), "camera", k, k / rate)


def checked(frames: Iterator[Frame], presence: Presence | None = None) -> CameraReport:
    check = CameraCheck(presence)
    for frame in frames:
        check.look(frame)
    report = check.report()
    assert report is not None
    return report


def about(report: CameraReport, subject: str) -> Advice:
    (advice,) = [one for one in report.advice if one.about == subject]
    return advice


@pytest.mark.parametrize(
    ("speed", "rate", "level"),
    [(100, 30, "good"), (200, 15, "good"), (400, 3, "fair"), (400, 2, "bad"), (1100, 30, "good")],
)
def test_a_passage_has_as_many_frames_as_speed_and_rate_leave(
    speed: float, rate: float, level: str
) -> None:
    report = checked(passing(speed, rate, seconds=max(3.0, 12 / rate)), Presence(BELT))
    assert report.speed == pytest.approx(speed, rel=0.12)
    assert report.rate == pytest.approx(rate, rel=0.05)
    assert report.passage == pytest.approx((WIDTH - 120) / speed * rate, rel=0.2)
    assert about(report, "passage").level == level
    assert (about(report, "passage").fix == "") == (level == "good")


@pytest.mark.parametrize(("side", "level"), [(40, "fair"), (120, "good"), (240, "good")])
def test_the_parts_size_is_told(side: int, level: str) -> None:
    frames = (Frame(scene(k, 200, side), "c", k, k / 10) for k in range(5))
    report = checked(frames, Presence(BELT))
    assert report.fill == pytest.approx(side / HEIGHT, abs=0.05)
    assert about(report, "size").level == level
    assert report.seen


def test_without_an_empty_picture_movement_is_the_trigger() -> None:
    report = checked(passing(200, 15))
    assert report.seen_share > 0.5
    assert (report.fill, report.speed, report.passage) == (None, None, None)
    still = checked(Frame(BELT, "c", k, k / 10) for k in range(10))
    assert not still.seen
    assert about(still, "trigger").level == "fair"


def test_dark_blurred_and_burnt_out_pictures_are_told_apart() -> None:
    sharp = [Frame(scene(k, 200, 200), "c", k, k / 10) for k in range(3)]

    def changed(change: object) -> CameraReport:
        assert callable(change)
        return checked(Frame(change(f.image), "c", f.number, f.captured) for f in sharp)

    assert [one.level for one in changed(lambda i: i).advice[:3]] == ["good"] * 3
    assert about(changed(lambda i: (i * 0.1).astype(np.uint8)), "light").message.startswith("too d")
    burnt = changed(lambda i: np.clip(i * 3.0, 0, 255).astype(np.uint8))
    assert "burnt out" in about(burnt, "light").message
    blurred = changed(lambda i: cv2.GaussianBlur(i, (0, 0), 8))
    assert about(blurred, "focus").level == "bad"


def test_the_command_measures_a_video_and_pictures(tmp_path: Path) -> None:
    folder, empty = tmp_path / "shots", tmp_path / "empty.png"
    folder.mkdir()
    cv2.imwrite(str(empty), BELT)
    for frame in passing(100, 25, seconds=2.0):
        cv2.imwrite(str(folder / f"{frame.number:03d}.png"), frame.image)
    document = json.loads(invoked("camera", folder, "--empty", empty, "--json"))
    assert document["frames"] == 50
    assert document["speed"] == pytest.approx(100, rel=0.12)
    assert {one["about"] for one in document["advice"]} >= {"focus", "light", "smear", "trigger"}
    said = invoked("camera", folder, "--roi", "100,50,300,300")
    assert said.startswith("300x300, 25.0 frames a second, 50 frame(s)")
    assert "focus" in said


def test_no_camera_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for wrong in (tmp_path / "nothing", tmp_path / "none.mp4"):
        result = invoke("camera", wrong)
        assert isinstance(result.exception, VisionEdgeError)
        assert result.exception.fix
