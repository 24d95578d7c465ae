"""The history and the statistics by the API: the same numbers as the verdicts' own."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timezone
from typing import Any

import pytest
from support.station import Served, eventually

from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import decode_image
from vision_edge.station.core.gallery_follower import GalleryFollower
from vision_edge.station.core.shift_report import shift_report
from vision_edge.station.core.shift_statistics import OTHER, ShiftStatistics, Span
from vision_edge.station.core.verdict_history import HistoryQuery, VerdictHistory
from vision_edge.station.http.api.kept import _accepted
from vision_edge.station.http.api.shift_models import RejectAsked
from vision_edge.station.http.users import User
from vision_edge.station.settings.history import HistorySettings, StatisticsSettings

HOUR = 3600.0


def kept(live: Served, **query: Any) -> list[dict[str, Any]]:
    return live.ok(live.get("/kept", params=query))["verdicts"]


def test_every_verdict_is_kept_with_its_picture_and_found(live: Served) -> None:
    eventually(lambda: {"bolt", "nut", "washer"} <= {row["label"] for row in kept(live)})
    eventually(lambda: kept(live, source="odd"))
    bolts = kept(live, product="bolt", band="accept")
    assert bolts and {row["label"] for row in bolts} == {"bolt"}
    assert {row["source"] for row in kept(live, source="odd")} == {"odd"}
    picture = live.get(f"/kept/{bolts[0]['id']}.jpg")
    assert decode_image(picture.content, "x").shape == (96, 96, 3)
    newest = kept(live, limit=2)
    assert kept(live, limit=1, before=newest[0]["id"])[0]["id"] <= newest[1]["id"]
    assert kept(live, since="2999-01-01T00:00:00Z") == []
    assert kept(live, until="1999-01-01T00:00:00+01:00") == []
    for bad in ({"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"band": "green"}):
        assert live.get("/kept", params=bad).status_code == 422, bad
    assert live.get(f"/kept/{'0' * 24}.jpg").status_code == 404


def test_without_its_numbers_the_page_of_the_shift_says_what_is_wrong(live: Served) -> None:
    """On a full disk a browser showed the API's error as text."""
    with closing(sqlite3.connect(live.station.settings.state_dir / "statistics.db")) as db:
        db.execute("DROP TABLE minutes")
    answer = live.client.get("/shift")
    assert answer.headers["content-type"].startswith("text/html")
    assert "the statistics cannot be used: no such table" in answer.text
    assert "check the state folder" in answer.text


def test_a_wrong_green_verdict_is_put_right_and_that_is_undone(live: Served) -> None:
    eventually(lambda: kept(live, product="bolt", band="accept"))
    wrong = kept(live, product="bolt", band="accept")[0]
    version = live.station.products.version
    asked = {"ids": [wrong["id"]], "label": "new bolt"}
    refused = live.ok(live.post("/kept/assign", asked), 409)  # the bolt's only picture is shown
    assert (refused["error"]["code"], refused["removes"]) == ("last_picture", ["bolt"])
    assert "'bolt'" in refused["error"]["what"]
    assert live.station.products.version == version
    made = live.ok(live.post("/kept/assign", {**asked, "accept_removal": True}))
    assert made["version"] > version
    labels = {one["label"] for one in live.ok(live.get("/products"))["products"]}
    assert labels == {"new bolt", "nut", "washer"}  # the very snapshot of the bolt was shown
    eventually(lambda: live.station.records(9, "good")[-1]["label"] != "bolt")
    eventually(lambda: "new bolt" in {r["label"] for r in live.station.records(6, "good")})
    [row] = kept(live, corrected=True)
    assert (row["id"], row["right"], row["author"]) == (wrong["id"], "new bolt", "local")
    assert row["label"] == "bolt"  # what was said stays
    assert kept(live, product="new bolt", corrected=True) == [row]
    found = live.ok(live.get("/statistics"))["corrections"]
    assert found == [{"given": "bolt", "band": "accept", "right": "new bolt", "times": 1}]

    live.ok(live.post("/undo"))

    labels = {one["label"] for one in live.ok(live.get("/products"))["products"]}
    assert labels == {"bolt", "nut", "washer"}
    assert kept(live, corrected=True) == []
    assert live.ok(live.get("/statistics"))["corrections"] == []
    assert live.post("/kept/assign", {"ids": ["0" * 24], "label": "x"}).status_code == 404


def test_what_is_no_product_is_unknown_from_then_on(live: Served) -> None:
    eventually(lambda: kept(live, product="nut", band="accept"))
    [row] = kept(live, product="nut", band="accept", limit=1)
    assert live.post("/kept/reject", {"ids": [row["id"]]}).status_code == 409
    live.ok(live.post("/kept/reject", {"ids": [row["id"]], "accept_removal": True}))
    assert kept(live, corrected=True)[0]["right"] == ""
    eventually(lambda: "nut" not in {r["label"] for r in live.station.records(6, "good")})
    live.ok(live.post("/rollback", {"version": 3}))
    assert kept(live, corrected=True) == []


def test_an_operator_cannot_remove_a_product_by_a_correction() -> None:
    asked = RejectAsked(ids=["0" * 24], accept_removal=True)
    assert not _accepted(asked, User("anna", "operator"))
    assert _accepted(asked, User("emil", "engineer"))


def test_what_waits_is_decided_in_the_history_too(live: Served) -> None:
    eventually(lambda: live.station.review.pending)
    [item] = live.ok(live.get("/review", params={"limit": 1}))["items"]
    live.ok(live.post("/review/assign", {"ids": [item["id"]], "label": "stranger"}))
    assert item["id"] not in {i["id"] for i in live.ok(live.get("/review"))["items"]}
    found = live.ok(live.get("/statistics"))["corrections"]
    assert [(one["right"], one["times"]) for one in found] == [("stranger", 1)]


def test_the_numbers_are_those_of_the_verdicts(live: Served) -> None:
    eventually(lambda: len(live.station.records(1000)) > 60)
    for line in live.station.lines:
        line.stop()
    for line in live.station.lines:
        line.join(3)
    told = live.station.records(1000)
    counts = Counter(record["band"] for record in told)
    assert len(told) < 1000
    answer = live.ok(live.get("/statistics", params={"step_minutes": 1}))
    assert {band: answer["total"][band] for band in ("accept", "review", "unknown")} == {
        band: counts[band] for band in ("accept", "review", "unknown")
    }
    accepted = Counter(record["label"] for record in told if record["band"] == "accept")
    assert {one["label"]: one["accept"] for one in answer["products"] if one["accept"]} == accepted
    assert sum(step["accept"] for step in answer["steps"]) == counts["accept"]
    ages = [record["age_ms"] for record in told]
    assert answer["total"]["age_ms"] == pytest.approx(sum(ages) / len(ages))
    assert answer["total"]["age_ms_most"] == max(ages)
    rows = list(csv.DictReader(io.StringIO(live.get("/statistics.csv").text)))
    assert sum(int(row["verdicts"]) for row in rows) == len(told)
    metrics = live.client.get("/metrics").text.splitlines()
    lines = [line for line in metrics if line.startswith("vision_edge_verdicts_total{")]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in lines) == len(told)
    odd = live.ok(live.get("/statistics", params={"source": "odd"}))
    assert [one["name"] for one in odd["sources"]] == ["odd"]


def test_a_span_that_cannot_be_is_refused(live: Served) -> None:
    for bad in (
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "2000-01-01T00:00:00Z", "step_minutes": 1},
        {"step_minutes": 0},
    ):
        assert live.get("/statistics", params=bad).status_code == 422, bad
    assert live.get("/statistics", params={"source": "none"}).status_code == 404


# the counts by themselves


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def verdict(label: str | None, band: str = "accept", age: float = 10.0) -> dict[str, Any]:
    return {
        "source_name": "cam", "label": label, "nearest": label or "bolt", "band": band,
        "age_ms": age,
    }  # fmt: skip


def test_counts_outlive_a_restart_and_are_bounded(tmp_path) -> None:
    clock, settings = Clock(), StatisticsSettings(days=2, products=3)
    counts = ShiftStatistics(tmp_path / "s.db", settings, clock)
    for label in ("a", "b", "c", "d", "e"):
        counts.take(verdict(label))
    counts.take({**verdict(None, "unknown"), "in_view": False})
    counts.state("cam", "lost")
    clock.now += 60
    counts.close()
    counts = ShiftStatistics(tmp_path / "s.db", settings, clock)
    counts.take(verdict("f"))
    span = Span(clock.now - HOUR, clock.now + HOUR)
    report = shift_report(counts, span, 60)
    assert {label: t.accept for label, t in report.products.items()} == {
        OTHER: 3, "a": 1, "b": 1, "c": 1,
    }  # fmt: skip
    assert (report.total.accept, report.total.nothing) == (6, 1)
    assert [(o["source"], o["ended"] - o["began"]) for o in report.outages] == [("cam", 60.0)]
    assert report.out_seconds("cam") == 60.0
    clock.now += 3 * 86400
    counts.take(verdict("late"))
    counts.flush()
    whole = Span(clock.now - 10 * 86400, clock.now + 60)
    assert list(shift_report(counts, whole, 1440).products) == ["late"]
    counts.close()


def test_a_full_disk_loses_no_count(tmp_path, monkeypatch) -> None:
    counts = ShiftStatistics(tmp_path / "s.db", StatisticsSettings())
    counts.take(verdict("a"))
    counts._tables._db.execute("PRAGMA query_only = 1")
    with pytest.raises(Exception, match="cannot be used"):
        counts.flush()
    counts.take(verdict("a"))
    counts._tables._db.execute("PRAGMA query_only = 0")
    now = time.time()
    assert shift_report(counts, Span(now - HOUR, now + 60), 1).total.accept == 2
    counts.close()


def test_the_history_keeps_within_its_bounds(tmp_path) -> None:
    from support.station import sharp

    from vision_edge.runtime.sources.frame import Frame

    settings = HistorySettings(most=5, most_mb=0.02, per_minute=6000)
    history = VerdictHistory(tmp_path / "h.db", settings)
    for number in range(12):
        at = datetime.fromtimestamp(number, timezone.utc).isoformat(timespec="milliseconds")
        record = {
            "id": f"{number:024x}", "time": at, "source_name": "cam", "label": "a", "nearest": "a",
            "score": 0.5, "margin": None, "stranger_rate": None, "band": "accept", "known": True,
        }  # fmt: skip
        history.take(Frame(sharp(number % 2), "cam", number, float(number)), record)
        history.flush()
    count, held = history.size()
    rows = history.find(HistoryQuery(), 100)
    assert 1 <= count <= 5 and count == len(rows)
    assert held <= 20_000 or count == 1
    assert rows[0]["id"] == f"{11:024x}"
    history.close()
    again = VerdictHistory(tmp_path / "h.db", settings)
    assert again.size() == (count, held)
    again.close()


def test_what_was_said_to_be_no_product_does_not_come_again(live: Served) -> None:
    """It stays unknown, and passes again within a second: it is counted with what was decided."""
    eventually(lambda: live.station.review.pending == 3)
    ids = [item["id"] for item in live.ok(live.get("/review"))["items"]]
    live.ok(live.post("/review/reject", {"ids": ids}))
    passed = live.station.review.grouped
    eventually(lambda: live.station.review.grouped > passed + 6, 10)
    live.station.review.flush()
    assert live.station.review.pending == 0


def test_what_waits_and_is_registered_elsewhere_waits_no_longer(live: Served) -> None:
    """The strangers are registered by pictures of their own: none of the queue is decided on."""
    eventually(lambda: live.station.review.pending == 3)
    ids = [item["id"] for item in live.ok(live.get("/review"))["items"]]
    shown = live.get(f"/review/{ids[0]}.jpg").content
    form = {"label": "odd one", "accept_warnings": "true"}
    live.ok(live.post("/products/upload", data=form, files={"images": shown}), 201)
    eventually(lambda: live.station.review.answered, 10)
    left = {item["id"] for item in live.ok(live.get("/review"))["items"]}
    assert ids[0] not in left
    assert set(ids[1:]) <= left, "what is still unknown waits on"
    assert "vision_edge_review_answered_total 1" in live.client.get("/metrics").text


def test_a_roll_back_by_another_program_takes_corrections_back(live: Served) -> None:
    """What is decided after it stays, though its version is above the one returned to."""
    eventually(lambda: len(kept(live, product="bolt", band="accept")) >= 1)
    eventually(lambda: kept(live, product="nut", band="accept"))
    bolt, nut = (kept(live, product=name, band="accept")[0]["id"] for name in ("bolt", "nut"))
    version = live.station.products.version
    asked = {"label": "other", "accept_removal": True}
    live.ok(live.post("/kept/assign", {"ids": [bolt], **asked}))
    with Gallery(live.station.products.path, None, author="shell") as gallery:
        gallery.rollback(version)
    eventually(lambda: not kept(live, corrected=True))
    assert live.ok(live.get("/statistics"))["corrections"] == []
    live.ok(live.post("/kept/assign", {"ids": [nut], **asked}))
    station = live.station  # as after a restart: all that happened is read again
    again = GalleryFollower(station.products, station.expectations, None, station.hub)
    again.begin(station.memory)
    assert [row["id"] for row in kept(live, corrected=True)] == [nut]
