"""Deeds and noise in two rings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.station import Served, eventually

from vision_edge.station.core.audit import DEEDS, REQUESTS, AuditLog


def lines_of(folder: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_no_noise_pushes_a_deed_out(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=2000)
    log.write("boss", "POST /api/v1/rollback", 200, deed=True, version=3)
    for number in range(400):
        ids = [f"{number:024d}"] * 500
        log.write("eve", "POST /api/v1/review/dismiss", 404, deed=False, ids=ids)
    log.close()
    assert [line["who"] for line in lines_of(tmp_path, DEEDS)] == ["boss"]
    assert len(list(tmp_path.glob(f"{REQUESTS}*"))) == 11
    assert lines_of(tmp_path, REQUESTS)[-1]["ids"] == 500
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 11 * 2000 + 1000


def test_a_full_disk_costs_a_line_in_the_log_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no device that is always full")
    (tmp_path / DEEDS).symlink_to(full)
    log = AuditLog(tmp_path)
    log.write("boss", "POST /api/v1/undo", 200, deed=True)
    assert f"{DEEDS}: a line could not be written" in caplog.text
    assert "No space left" in caplog.text
    log.close()
    assert "audit lacks its last lines" in caplog.text
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_requests_that_change_nothing_are_no_deeds(live: Served) -> None:
    folder = live.station.settings.state_dir
    live.ok(live.post("/products/rename", {"label": "nobody", "new": "x"}), 404)
    unknown = [f"{number:024x}" for number in range(500)]
    for _ in range(5):
        live.ok(live.post("/review/dismiss", {"ids": unknown}))
        live.ok(live.post("/review/reject", {"ids": unknown}), 404)
        live.ok(live.post("/sources/good/freeze"), 201)
    eventually(lambda: len(lines_of(folder, REQUESTS)) == 16)
    assert (folder / DEEDS).read_text() == ""
    refused = (folder / REQUESTS).read_text()
    assert unknown[7] not in refused and len(refused) < 6000
    assert lines_of(folder, REQUESTS)[1]["unknown"] == 500


def test_what_a_dismissal_takes_away_is_a_deed(live: Served) -> None:
    def waiting() -> list[str]:
        return [item["id"] for item in live.get("/review").json()["items"]]

    ids = eventually(waiting)
    asked = [*ids[:1], "0" * 24, ids[0]]
    live.ok(live.post("/review/dismiss", {"ids": asked}))
    (deed,) = eventually(lambda: lines_of(live.station.settings.state_dir, DEEDS))
    assert (deed["ids"], deed["unknown"]) == (ids[:1], 2)
