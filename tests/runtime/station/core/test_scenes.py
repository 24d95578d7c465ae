"""What is set of a source's scene on the page: against the settings, and over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.errors import CropError
from vision_edge.station.core.scenes import SceneKeeper
from vision_edge.station.settings.station import SourceSettings


def settings(tmp_path: Path, **more: Any) -> SourceSettings:
    cv2.imwrite(str(tmp_path / "empty.png"), picture(1, 80))
    return SourceSettings(name="cam", address="0", empty=tmp_path / "empty.png", **more)


def test_the_settings_hold_until_the_page_says_otherwise_and_again_when_it_forgets(
    tmp_path: Path,
) -> None:
    keeper = SceneKeeper(settings(tmp_path, roi=(0, 0, 60, 40)), tmp_path / "scenes")
    first = keeper.current()
    assert keeper.current() is first
    assert (first.roi, first.roi_from, first.empty_from) == ((0, 0, 60, 40), "settings", "settings")
    keeper.set_roi((10, 10, 50, 50), (80, 80))
    keeper.take_empty(picture(2, 80), "anna")
    for again in (keeper, SceneKeeper(settings(tmp_path, roi=(0, 0, 60, 40)), tmp_path / "scenes")):
        scene = again.current()
        assert (scene.roi, scene.roi_from) == ((10, 10, 50, 50), "page")
        assert (scene.empty_from, scene.author) == ("page", "anna")
        assert scene.empty is not None
        assert np.array_equal(scene.empty, picture(2, 80)), "kept without loss"
        assert scene.cut(scene.empty).shape == (50, 50, 3)
    keeper.set_roi(None, (80, 80))
    keeper.forget_empty()
    assert keeper.document() == first.document()


@pytest.mark.parametrize("roi", [(-1, 0, 40, 40), (0, 0, 81, 40), (60, 60, 40, 40), (0, 0, 8, 40)])
def test_a_region_outside_the_picture_is_refused(roi: Any, tmp_path: Path) -> None:
    keeper = SceneKeeper(settings(tmp_path), tmp_path / "scenes")
    with pytest.raises(CropError, match="region"):
        keeper.set_roi(roi, (80, 80))
    assert keeper.current().roi is None


def test_what_is_damaged_is_told_and_the_settings_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = SceneKeeper(settings(tmp_path), tmp_path / "scenes")
    keeper.take_empty(picture(2, 80), "anna")
    (tmp_path / "scenes" / "cam.png").write_bytes(b"no picture")
    assert SceneKeeper(settings(tmp_path), tmp_path / "scenes").current().empty_from == "settings"
    (tmp_path / "scenes" / "cam.json").write_text('{"roi": [1, 2]}')
    assert SceneKeeper(settings(tmp_path), tmp_path / "scenes").current().roi is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"locate": "detector"}, "FILE.onnx"),
        ({"detector": "d.onnx"}, 'locate = "detector"'),
        ({"locate": "whole", "trigger": "presence"}, "located"),
        ({"locate": "somewhere"}, "locate"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, VisionEdgeError), match=said):
        SourceSettings(name="cam", address="0", **wrong)


@pytest.mark.parametrize("turn", [{}, {"rotate": 180}])
def test_an_empty_picture_of_the_regions_size_is_taken_as_cut_to_it(
    tmp_path: Path, turn: dict[str, Any]
) -> None:
    """It is what `frame.jpg` gives: upright already; a region within it on the page still fits."""
    keeper = SceneKeeper(settings(tmp_path, roi=(100, 40, 80, 80), **turn), None)
    cut = keeper.current().empty_cut()
    assert cut is not None
    assert np.array_equal(cut, picture(1, 80))
    keeper.set_roi((110, 50, 40, 40), (640, 480))
    within = keeper.current().empty_cut()
    assert within is not None
    assert np.array_equal(within, picture(1, 80)[10:50, 10:50])
    keeper.set_roi((0, 0, 60, 60), (640, 480))
    with pytest.raises(VisionEdgeError, match=r"empty: empty\.png is 80x80"):
        keeper.current().empty_cut()


def test_an_empty_picture_that_misses_the_region_is_named_with_both_sizes(tmp_path: Path) -> None:
    keeper = SceneKeeper(settings(tmp_path, roi=(100, 40, 90, 80)), None)
    with pytest.raises(VisionEdgeError, match=r"empty\.png is 80x80.*\[100, 40, 90, 80\].*90x80"):
        keeper.current().empty_cut()
