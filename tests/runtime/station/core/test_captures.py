"""A part that is tapped in a picture of several is registered without its neighbours."""

from __future__ import annotations

import cv2
import numpy as np
from support.parts import empty_belt

from vision_edge.runtime.images.presence import Presence
from vision_edge.station.core.captures import Capture, Crop


def green(picture: np.ndarray) -> float:
    """How much of a picture is green."""
    blue, middle, red = cv2.split(picture.astype(int))
    return float((middle > np.maximum(blue, red) + 60).mean())


def test_a_tapped_part_is_cut_without_its_neighbour_and_another_crop_as_it_is() -> None:
    image = empty_belt(90)
    cv2.circle(image, (250, 240), 60, (40, 40, 220), -1)
    cv2.circle(image, (345, 280), 40, (40, 200, 40), -1)
    capture = Capture("1", image, (640, 480), b"", "belt", Presence(empty_belt()), 1e9)
    red, _ = capture.parts()
    assert green(capture.picture(red).image) == 0
    wider = Crop(red.x, red.y, red.width + 4, red.height + 4)
    assert green(capture.picture(wider).image) > 0.02
