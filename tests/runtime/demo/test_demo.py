"""The demonstration, whole, from the shipped bundle: the figures come from the line's own truth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

import vision_edge.demo.rendered_demo as demo_run
from vision_edge.cli.demo import app
from vision_edge.runtime.gallery.gallery import Gallery


@pytest.mark.slow
def test_the_demo_names_parts_and_refuses_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "has_server_part", lambda: False)
    summary_file = tmp_path / "summary.json"
    arguments = ["--out", str(tmp_path), "--json", str(summary_file), "--passes", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(summary_file.read_text())
    assert summary["parts"] == 8
    assert summary["stranger_passages"] == 4
    assert summary["parts_right"] >= 7
    assert summary["strangers_refused"] == 4
    assert summary["spurious_verdicts"] <= 1  # 0 with OpenCV 5, 1 with 4.9
    assert set(summary["by_part"]) == {*summary["registered"], *summary["strangers"]}
    with Gallery(tmp_path / "gallery.db") as gallery:
        assert {label: len(ids) for label, ids in gallery.state().items()} == dict.fromkeys(
            summary["registered"], demo_run.TURNS
        )
    film = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == summary["frames"]
    film.release()
    assert cv2.imread(str(tmp_path / "contact-sheet.jpg")).shape[1] > 1000
    assert "8 products, one snapshot each" in result.output
