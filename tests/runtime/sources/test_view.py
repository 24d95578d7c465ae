"""Turning, mirroring and cutting; CSI addresses; pipelines that name no password."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import gst_pipelines as pipelines
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.view import View, parse_roi

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("rotate", "code"),
    [(90, cv2.ROTATE_90_CLOCKWISE), (180, cv2.ROTATE_180), (270, cv2.ROTATE_90_COUNTERCLOCKWISE)],
)
def test_rotation_is_clockwise(rotate: int, code: int) -> None:
    assert np.array_equal(View(rotate).apply(IMAGE), cv2.rotate(IMAGE, code))


def test_turn_then_mirror_then_cut() -> None:
    got = View(90, "horizontal", (1, 2, 2, 3)).apply(IMAGE)
    expected = cv2.flip(cv2.rotate(IMAGE, cv2.ROTATE_90_CLOCKWISE), 1)[2:5, 1:3]
    assert np.array_equal(got, expected)
    assert got.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    "made",
    [
        lambda: View(45),
        lambda: View(0, "sideways"),  # type: ignore[arg-type]
        lambda: View(0, "none", (0, 0, 0, 5)),
        lambda: View(0, "none", (2, 0, 5, 4)).apply(IMAGE),
        lambda: parse_roi("1,2,3"),
        lambda: parse_roi("1,2,-3,4"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_on(made: Any) -> None:
    with pytest.raises(SourceError) as caught:
        made()
    assert caught.value.fix


@pytest.mark.parametrize("jetson", [True, False])
def test_a_csi_address_becomes_a_pipeline_to_bgr(
    jetson: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "has_element", lambda name: jetson)
    text = pipelines.csi_pipeline("csi://1?width=640&fps=60")
    assert text.startswith("nvarguscamerasrc sensor-id=1 " if jetson else "libcamerasrc ")
    assert "width=640,height=720,framerate=60/1" in text
    assert "video/x-raw,format=BGR" in text
    for bad in ("csi://x", "csi://0?gain=2", "csi://0?width=a"):
        with pytest.raises(SourceError):
            pipelines.csi_pipeline(bad)


def test_a_pipelines_name_holds_no_credentials() -> None:
    spec = 'gst://rtspsrc location=rtsp://u:p@host/x user-pw="secret" ! decodebin'
    address, name = live_address(spec) or ("", "")
    assert address == spec
    assert "secret" not in name
    assert "u:p" not in name
