"""GenICam cameras found and tried over the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.genicam import fake_camera
from support.station import Served, served, settings_for


def _tried(running: Served, address: str, status: int = 200) -> dict[str, object]:
    answer = running.ok(running.post("/cameras/try", {"address": address}), status)
    found: dict[str, object] = answer["error"] if status != 200 else answer
    return found


def test_a_camera_is_found_and_tried_as_its_address_says(shared: Served) -> None:
    with fake_camera():
        (camera,) = shared.ok(shared.get("/cameras"))["cameras"]
        assert camera["serial"] == "GV01"
        assert camera["source"] is None
        free = _tried(shared, f"{camera['address']}?region=0,0,160,120&fps=50")
        assert (free["width"], free["height"]) == (160, 120)
        fired = _tried(shared, f"{camera['address']}?region=0,0,64,48&trigger=Software")
        assert (fired["width"], fired["height"]) == (64, 48)
        waits = _tried(shared, f"{camera['address']}?trigger=Line0")
        assert waits["width"] is None
        assert "Line0" in str(waits["message"])
        refused = _tried(shared, f"{camera['address']}?pixel_format=Mono3", 409)
        assert "pixel_format" in str(refused["what"])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("rtsp://10.0.0.1/x", "only genicam://"),
        ("http://127.0.0.1/", "only genicam://"),
        ("/etc/passwd", "only genicam://"),
        ("genicam://x?gain=loud", "gain=loud"),
    ],
)
def test_what_is_no_genicam_address_is_not_opened(shared: Served, address: str, why: str) -> None:
    assert why in str(_tried(shared, address, 409)["what"])


def test_a_camera_that_nobody_has_is_told_with_those_that_answer(shared: Served) -> None:
    with fake_camera():
        told = _tried(shared, "genicam://other", 409)
    assert "other" in str(told["what"])
    assert "GV01" in str(told["what"])


def test_a_sources_own_camera_is_not_taken_from_it(bundle_path: Path, registered: Path) -> None:
    source = {"name": "cam", "address": "genicam://GV01?fps=25&region=0,0,160,120"}
    with fake_camera(), served(settings_for(bundle_path, registered, source)) as running:
        (camera,) = running.ok(running.get("/cameras"))["cameras"]
        assert camera["source"] == "cam"
        assert "source 'cam'" in str(_tried(running, camera["address"], 409)["what"])
