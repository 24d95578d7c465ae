"""The camera assistant over HTTP: while somebody asks, and without touching the verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import noisy, picture
from support.station import eventually, served, settings_for

BELT = np.full((180, 320, 3), 70, np.uint8)
BELT[::8] = 90


@pytest.fixture
def settings(bundle_path: Path, registered: Path, tmp_path: Path) -> Any:
    """A belt at 20 frames a second: a part moves by 8 pixels a frame."""
    folder, empty = tmp_path / "belt", tmp_path / "empty.png"
    folder.mkdir()
    cv2.imwrite(str(empty), BELT)
    for k in range(28):
        image = noisy(BELT, k, 2)
        image[60:120, 8 + 8 * k : 68 + 8 * k] = noisy(picture(1, 60), k)
        cv2.imwrite(str(folder / f"{k:02d}.png"), image)
    belt = {"name": "belt", "address": folder, "loop": True, "fps": 20}
    return settings_for(
        bundle_path, registered, {**belt, "trigger": "presence", "empty": empty},
        {**belt, "name": "plain"},
    )  # fmt: skip


def test_the_assistant_tells_rate_speed_and_size(settings: Any) -> None:
    with served(settings) as running:
        eventually(lambda: all(line.frames > 2 for line in running.station.lines))

        def measured() -> Any:
            found = running.ok(running.get("/sources/belt/camera"))
            return found if found["passage"] is not None and found["rate"] else None

        found = eventually(measured, 15)
        assert (found["width"], found["height"]) == (320, 180)
        assert 0 < found["rate"] < 40
        assert 10 < found["speed"] < 400  # 8 pixels a frame, at whatever rate it is played
        assert found["fill"] == pytest.approx(60 / 180, abs=0.08)
        assert {one["about"] for one in found["advice"]} >= {"focus", "light", "passage", "size"}
        plain = running.ok(running.get("/sources/plain/camera"))
        assert plain["fill"] is None
        assert running.get("/sources/none/camera").status_code == 404
