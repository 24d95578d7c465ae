"""A change of the scene at a station: status, metrics and events, until it is acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import noisy, picture
from support.station import eventually, served, settings_for

from vision_edge.runtime.pipeline.triggers import Look, View
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.scene_guard import SceneGuard

PART = {"score": 0.8}


def show(guard: SceneGuard, parts: int, gain: float = 1.0, start: int = 0) -> None:
    for k in range(start, start + parts):
        guard.part(PART)
        image = (noisy(picture(2, 120), k, 2) * gain).astype(np.uint8)
        guard.look(Frame(image, "camera", k, float(k)))


def test_a_change_is_told_once_and_acknowledged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    guard = SceneGuard("camera", lambda: told.append(guard.document()))
    show(guard, 110)
    assert told == []
    show(guard, 50, 0.4, 110)
    assert [document and document["kind"] for document in told] == ["light"]
    assert "the light changed" in caplog.text
    guard.acknowledge()
    assert guard.document() is None
    assert told[-1] is None


def test_the_parts_a_trigger_sees_are_left_out() -> None:
    class Sees:
        def look(self, frame: Frame) -> Look:
            return Look((View(None, (0, 0, 120, 120)),))

    guard = SceneGuard("camera", lambda: None)
    watched = guard.watching(Sees())
    show(guard, 110)
    for k in range(110, 170):  # all that changes is hidden by the part
        guard.part(PART)
        assert watched.look(Frame(picture(4, 120), "camera", k, float(k))).parts
    assert guard.change is None


def test_while_a_part_fills_the_picture_the_scene_is_not_looked_at() -> None:
    class Moves:
        def look(self, frame: Frame) -> Look:
            return Look((View(frame.image),))

    guard = SceneGuard("camera", lambda: None)
    watched = guard.watching(Moves())
    for k in range(200):
        guard.part(PART)
        watched.look(Frame(picture(k % 7, 120), "camera", k, float(k)))
    assert guard.change is None
    assert guard._watch._limits == {}


def test_a_watch_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    guard = SceneGuard("camera", lambda: None)
    for k in range(3):
        guard.look(Frame(np.zeros((0, 0, 3), np.uint8), "camera", k, float(k)))
    assert caplog.text.count("cannot be watched") == 1


def test_a_station_shows_a_change_until_it_is_acknowledged(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    line = {"name": "line", "address": shots, "loop": True, "fps": 1, "trigger": "motion"}
    with served(settings_for(bundle_path, registered, line)) as running:
        scene = running.station.line("line").guard
        show(scene, 110)
        show(scene, 50, 0.4, 110)

        def status() -> Any:
            return running.ok(running.get("/status"))["sources"][0]["change"]

        assert eventually(status)["kind"] == "light"
        assert 'vision_edge_scene_changed{source="line"} 1.0' in running.client.get("/metrics").text
        running.ok(running.post("/sources/line/acknowledge", json={}))
        assert status() is None
