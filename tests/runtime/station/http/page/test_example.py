"""The station to try: its settings, and that a part registered on its belt is recognised."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.paths import ROOT

pytest.importorskip("fastapi")
pytest.importorskip("pydantic_settings")

from support.station import eventually, served, settings_for, sharp

from vision_edge.runtime.bundles.shipped import asset
from vision_edge.station.core.source_line import Line
from vision_edge.station.settings.file import load_settings

EXAMPLE = ROOT / "examples/station"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, with a short belt: one nut."""
    made = tmp_path_factory.mktemp("example")
    belt = ["--parts", "hex_nut", "--rest", "2", "--passes", "1"]
    command = [sys.executable, str(EXAMPLE / "render.py"), str(made / "line.mp4"), *belt]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    text = (EXAMPLE / "station.toml").read_text("utf-8")
    bundle = "../../runtime/vision_edge/runtime/assets/bundle"
    assert (EXAMPLE / bundle).resolve() == asset("bundle")
    (made / "station.toml").write_text(text.replace(bundle, asset("bundle").as_posix()), "utf-8")
    return made


def test_a_part_on_the_belt_is_registered_and_recognised(folder: Path) -> None:
    settings = load_settings(folder / "station.toml", server={"port": 0}, threads=1)
    with served(settings) as running:
        frames = eventually(lambda: running.station.records(200), 20)
        assert {record["band"] for record in frames} == {"unknown"}
        eventually(lambda: _still(running.station.line("belt")), 30)
        capture = running.ok(running.post("/sources/belt/freeze"), 201)
        assert (capture["width"], capture["height"], capture["crop"]) == (300, 300, None)
        asked = {"label": "nut", "capture": capture["capture"], "accept_warnings": True}
        running.ok(running.post("/products", {"crop": None, **asked}), 201)

        eventually(lambda: running.station.records(1)[0]["label"] == "nut", 20)


def test_a_part_is_cut_out_where_the_empty_scene_is_known(tmp_path: Path) -> None:
    empty = np.full((240, 320, 3), 90, np.uint8)
    scene = empty.copy()
    scene[60:100, 200:250] = sharp(1, 40)[:, :1].repeat(50, axis=1)
    cv2.imwrite(str(tmp_path / "empty.png"), empty)
    cv2.imwrite(str(tmp_path / "scene.png"), scene)
    source = {"name": "table", "address": tmp_path / "scene.png", "loop": True, "fps": 10}
    source |= {"trigger": "presence", "empty": tmp_path / "empty.png"}
    with served(settings_for(asset("bundle"), tmp_path / "parts.db", source)) as running:
        eventually(lambda: running.station.line("table").latest is not None)
        found = running.ok(running.post("/sources/table/freeze"), 201)["crop"]

    assert found["width"] == found["height"]
    assert 50 <= found["width"] <= 80
    assert found["x"] <= 200 <= 250 <= found["x"] + found["width"]
    assert found["y"] <= 60 <= 100 <= found["y"] + found["height"]


def test_the_belt_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "render.py"), str(tmp_path / "x.mp4")]
    done = subprocess.run([*command, "--parts", "spoon"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "unknown part 'spoon'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.mp4").exists()


def _still(line: Line) -> bool:
    """Whether the belt stands, which it does with a part under the camera: two frames are alike."""
    before = line.latest
    time.sleep(0.35)
    after = line.latest
    if before is None or after is None or before is after:
        return False
    change = np.abs(before.image.astype(int) - after.image).mean()
    return bool(change < 1.0)
