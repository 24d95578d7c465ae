from __future__ import annotations

from pathlib import Path

import pytest
from support.station import eventually, served, settings_for

from vision_edge.station.core.discretion import without_folders


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/a b/parts.gallery: damaged", "parts.gallery: damaged"),
        ("cannot read '/etc/vision/x.png' (no such file)", "cannot read 'x.png' (no such file)"),
        ("look into /var/lib/vision/", "look into a folder"),
        ("rtsp://camera/live/1 is lost", "rtsp://camera/live/1 is lost"),
        ("/dev/video0 and 3/4 of 1/s", "video0 and 3/4 of 1/s"),
        ("nothing here", "nothing here"),
    ],
)
def test_folders_are_left_out(text: str, told: str) -> None:
    assert without_folders(text, "/srv/a b/parts.gallery", "/srv/a b") == told


def test_status_and_events_name_no_folder(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    absent = {
        "name": "odd", "address": tmp_path / "nowhere" / "x.mp4", "trigger": "presence",
        "empty": tmp_path / "nowhere" / "empty.png",
    }  # fmt: skip
    with served(settings_for(bundle_path, registered, shots, absent)) as running:
        told = running.station.subscribe()
        eventually(lambda: running.station.line("odd").status()["message"])
        registered.write_bytes(b"no gallery at all, and not even a database")
        notes = eventually(lambda: running.get("/status").json()["notes"])
        status = running.get("/status").text
        assert any("parts" in note or "gallery" in note for note in notes)
        assert "empty.png" in status
        for text in (
            status,
            str([told.get(0.1) for _ in range(20)]),
            running.get("/products").text,
        ):
            for folder in (registered.parent, bundle_path.parent, tmp_path):
                assert str(folder) not in text
