"""A station's records: verdicts and deeds with gallery, bundle and operator, signed by shift."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.provenance import Maker, make_maker
from support.runtime import invoked

pytest.importorskip("cryptography")
pytest.importorskip("fastapi")

from support.station import eventually, served, settings_for

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.record_check import check_folder
from vision_edge.runtime.provenance.record_lines import files_of
from vision_edge.station.core.record_book import RecordBook
from vision_edge.station.core.shifts import Shifts
from vision_edge.station.settings.provenance import RecordsSettings


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path / "maker", ("records",), "press-2")


def bodies(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(row) for path in files_of(folder) for row in path.read_bytes().splitlines()]
    return [row["body"] for row in rows if row["kind"] == kind]


def test_a_station_records_verdicts_and_deeds(
    bundle_path: Path, registered: Path, shots: Path, maker: Maker, tmp_path: Path
) -> None:
    source = {"name": "top", "address": shots, "loop": True, "fps": 30}
    folder = tmp_path / "records"
    records = {"key": str(maker.path), "folder": str(folder)}
    settings = settings_for(bundle_path, registered, source, records=records)
    with served(settings) as running:
        eventually(lambda: len(running.station.records(9)) > 5, 20.0)
        running.ok(running.post("/sources/top/expect", {"product": "bolt"}))
        seen = running.station.records(1)[0]["id"]
        eventually(lambda: running.station.records(1)[0]["id"] != seen, 20.0)
        assert "vision_edge_records_failing 0.0" in running.client.get("/metrics").text
        fingerprint = running.station.session.bundle.manifest.fingerprint
    found = check_folder(folder, maker.store)
    assert [one.problem for one in found] == [""]
    verdicts = bodies(folder, "verdict")
    assert {(v["bundle"], v["operator"], v["station"]) for v in verdicts} == {
        (fingerprint, "local", "station")
    }
    assert {v["label"] for v in verdicts} <= {"bolt", "nut", "washer", None}
    assert verdicts[-1]["verification"]
    assert all(v["gallery_version"] == verdicts[0]["gallery_version"] for v in verdicts)
    [deed] = bodies(folder, "deed")
    assert (deed["who"], deed["what"]) == ("local", "POST /api/v1/sources/top/expect")
    told = invoked("records", "verify", folder, "--trust", maker.store.path)
    assert "sealed (stop) by press-2" in told


def book(maker: Maker, tmp_path: Path, clock: list[datetime], **more: Any) -> RecordBook:
    settings = RecordsSettings(key=maker.path, folder=tmp_path / "records", **more)
    context = {"gallery_version": 1, "bundle": "f"}
    return RecordBook(
        settings, tmp_path, "press-2", Shifts(["06:00", "14:00"], "UTC"), lambda: context,
        clock=lambda: clock[0],
    )  # fmt: skip


def test_a_shift_ends_a_file_and_the_operator_is_who_logged_in(
    maker: Maker, tmp_path: Path
) -> None:
    clock = [datetime(2026, 11, 28, 13, 59, tzinfo=timezone.utc)]
    made = book(maker, tmp_path, clock)
    made.verdict({"label": "bolt"})
    made.deed("anna", "POST /api/v1/login", 200, user="anna")
    made.verdict({"label": "bolt"})
    made.flush(30.0)
    clock[0] += timedelta(minutes=2)
    made.verdict({"label": "nut"})
    made.deed("ben", "POST /api/v1/login", 401, user="ben")
    made.deed("anna", "POST /api/v1/logout", 200)
    made.verdict({"label": "nut"})
    made.close()
    folder = tmp_path / "records"
    found = check_folder(folder, maker.store)
    assert [one.sealed.reason for one in found if one.sealed] == ["shift", "stop"]
    operators = [v["operator"] for v in bodies(folder, "verdict")]
    assert operators == [None, "anna", "anna", None]


def test_full_records_are_told_and_counted(maker: Maker, tmp_path: Path) -> None:
    clock = [datetime(2026, 11, 28, 13, 59, tzinfo=timezone.utc)]
    made = book(maker, tmp_path, clock, file_mb=0.01, most_mb=0.02)
    for number in range(300):
        made.verdict({"label": "bolt", "number": number})
    made.flush(30.0)
    assert "were not written" in made.problem
    assert "most_mb" in made.problem or "records have" in made.problem
    made.close()
    found = check_folder(tmp_path / "records", maker.store)
    written = sum(one.kinds["verdict"] for one in found)
    lost = sum(one.not_written["verdict"] for one in found)
    assert all(one.sound for one in found), [one.problem for one in found]
    assert written + lost == 300
    assert lost > 0


def test_a_key_that_is_not_fit_stops_the_start(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    records = {"key": str(tmp_path / "none.key")}
    settings = settings_for(bundle_path, registered, shots, records=records)
    with pytest.raises(ProvenanceError, match="cannot be read"), served(settings):
        pass
