"""How good the station is: its gallery's check, validation, and the asked rate of strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")

from support.runtime import noisy, picture
from support.station import Served, served, settings_for

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot
from vision_edge.station.core.asked_rate import AskedRate
from vision_edge.station.core.errors import RateError
from vision_edge.station.core.station import Station
from vision_edge.station.fleet.host import updates_of
from vision_edge.station.settings.station import ScoringSettings


def shot(shows: int, seed: int) -> Image:
    """Return a picture of one of the things that is not all but the same as its others."""
    mixed = 0.65 * picture(shows, 96) + 0.35 * picture(1000 + seed, 96)
    return mixed.astype(np.uint8)


def snapshots(station: Station, shows: int, seeds: range, origin: str = "test") -> list[Snapshot]:
    jpegs = [encode_jpeg(shot(shows, seed)) for seed in seeds]
    return [kept_snapshot(station.session, jpeg, origin) for jpeg in jpegs]


@pytest.fixture
def filled(bundle_path: Path, shots: Path, tmp_path: Path) -> Iterator[Served]:
    """Three products of four snapshots, one of them of another product, and five rejected ones."""
    source = {"name": "good", "address": shots, "loop": True, "fps": 10}
    with served(settings_for(bundle_path, tmp_path / "g.db", source)) as running:
        station = running.station
        with station.gallery("anna") as gallery:
            for number, label in enumerate(("bolt", "nut", "washer")):
                gallery.add(label, snapshots(station, number, range(10, 13)))
            gallery.add("nut", snapshots(station, 1, range(20, 21), "review of good"))
            gallery.add("bolt", snapshots(station, 1, range(30, 31)))  # a nut
            for shows in range(40, 45):
                gallery.add_negatives(None, snapshots(station, shows, range(1), "review of good"))
        yield running


def test_the_check_names_what_is_wrong_with_the_products(filled: Served) -> None:
    told = filled.ok(filled.get("/check"))
    assert (told["products"], told["snapshots"], told["looked_at"]) == (3, 11, 11)
    [wrong] = told["mislabelled"]
    assert (wrong["product"], wrong["nearest"]) == ("bolt", "nut")
    assert set(told["by_product"]) == {"bolt", "nut", "washer"}
    assert told["named"] > 0.5
    assert told["false_accept_rate"] == 0.05


def test_another_rate_is_tried_then_taken_and_taken_back(filled: Served) -> None:
    effect = filled.ok(filled.get("/scoring?false_accept_rate=0.05"))
    assert (effect["pictures"], effect["reviewed"]) == (16, 6)
    assert effect["now"] == effect["then"]
    assert effect["flips"] == []
    strict = filled.ok(filled.get("/scoring?false_accept_rate=0.000001"))
    assert strict["then"]["named"] < strict["now"]["named"]
    assert strict["flips"]
    assert all(one["now"] != one["then"] for one in strict["flips"])
    order = [one["reviewed"] for one in strict["flips"]]
    assert order == sorted(order, reverse=True)
    assert filled.ok(filled.get("/status"))["scoring"]["false_accept_rate"] == 0.05

    taken = filled.ok(filled.post("/scoring", {"false_accept_rate": 0.000001}))
    assert (taken["false_accept_rate"], taken["by"], taken["can_undo"]) == (1e-6, "local", True)
    classifier = filled.station.products.model.classifier
    assert classifier is not None
    assert classifier.false_accept_rate == 1e-6
    assert filled.ok(filled.get("/check"))["named"] < 0.5
    assert updates_of(filled.station)._scoring().false_accept_rate == 1e-6  # a trial asks the same
    filled.ok(filled.post("/scoring", {"false_accept_rate": 0.2}))
    assert filled.ok(filled.post("/scoring/undo"))["false_accept_rate"] == 1e-6
    back = filled.ok(filled.post("/scoring/undo"))
    assert (back["false_accept_rate"], back["by"], back["can_undo"]) == (
        0.05,
        "the settings",
        False,
    )
    assert filled.post("/scoring/undo").json()["error"]["code"] == "rate"
    for wrong in (0, 1, -0.1, 0.6, "0.1", None):
        assert filled.post("/scoring", {"false_accept_rate": wrong}).status_code == 422
    rows = (filled.station.settings.state_dir / "audit.jsonl").read_text().splitlines()
    deeds = [json.loads(row) for row in rows if "/scoring" in row]
    assert [(row["before"], row["false_accept_rate"]) for row in deeds] == [
        (0.05, 1e-6), (1e-6, 0.2), (0.2, 1e-6), (1e-6, 0.05),
    ]  # fmt: skip


def test_the_stations_own_pictures_are_validated(filled: Served) -> None:
    every = filled.ok(filled.get("/validation"))
    assert (every["pictures"], every["strangers"]) == (11, 5)
    assert sum(row["pictures"] for row in every["answers"]) == 16
    assert {row["shows"] for row in every["answers"]} == {"bolt", "nut", "washer", None}
    decided = filled.ok(filled.get("/validation?reviewed=true"))
    assert (decided["pictures"], decided["strangers"]) == (1, 5)
    assert "no pictures of 'bolt', 'washer'" in decided["notes"]


def files(*shown: int) -> list[Any]:
    return [
        ("images", (f"{n}.png", cv2.imencode(".png", noisy(picture(k, 96), 70 + n))[1].tobytes()))
        for n, k in enumerate(shown)
    ]


def test_uploaded_pictures_are_judged_by_their_labels(filled: Served) -> None:
    labels = ["bolt", "nut", "", "screw"]
    answer = filled.client.post(
        "/api/v1/validation", files=files(0, 1, 60, 61), data={"shows": labels}
    )
    told = filled.ok(answer)
    assert (told["pictures"], told["strangers"]) == (2, 2)
    assert [row["shows"] for row in told["tried"]] == ["bolt", "nut", None, None]
    assert told["shares"]["named"] == 1.0
    assert "'screw' is not registered: its pictures are strangers" in told["notes"]
    assert "no pictures of 'washer'" in told["notes"]
    alone = filled.client.post("/api/v1/validation", files=files(0), data={"shows": ["bolt"]})
    told = filled.ok(alone)
    assert told["shares"]["strangers"] is None
    assert "no pictures of strangers: what gets in is not shown" in told["notes"]
    uneven = filled.client.post("/api/v1/validation", files=files(0, 1), data={"shows": ["bolt"]})
    assert uneven.status_code == 422
    assert "2 picture(s) and 1 label(s)" in uneven.json()["error"]["what"]


def test_with_nothing_to_judge_by_it_says_so(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    source = {"name": "good", "address": shots}
    with served(settings_for(bundle_path, tmp_path / "new.db", source)) as empty:
        for path in ("/check", "/scoring?false_accept_rate=0.1", "/validation"):
            answer = empty.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "nothing_to_judge")
        with empty.station.gallery("anna") as gallery:
            gallery.add("bolt", snapshots(empty.station, 0, range(1)))
        told = empty.ok(empty.get("/check"))
        assert (told["named"], told["one_snapshot"], told["by_product"]) == (None, ["bolt"], {})
        assert empty.ok(empty.get("/scoring?false_accept_rate=0.1"))["pictures"] == 0
        assert "one snapshot only" in empty.get("/validation").json()["error"]["what"]
        reviewed = empty.get("/validation?reviewed=true").json()["error"]["what"]
        assert "nobody has decided" in reviewed


def test_what_is_taken_holds_over_a_restart_until_the_settings_change(tmp_path: Path) -> None:
    path = tmp_path / "asked-rate.json"
    own = ScoringSettings()
    first = AskedRate(path, own)
    assert (first.now.rate, first.settings) == (0.05, own)
    first.keep(first.made(0.02, "boss"))
    again = AskedRate(path, own)
    assert (again.now.rate, again.now.by, again.settings.false_accept_rate) == (0.02, "boss", 0.02)
    changed = AskedRate(path, ScoringSettings(false_accept_rate=0.1))
    assert changed.now.rate == 0.1
    assert changed.now.note == "the settings have changed: they hold, and not the 0.02 of boss"
    fixed = AskedRate(path, ScoringSettings(threshold=0.5))
    with pytest.raises(RateError, match="a fixed score decides"):
        fixed.made(0.02, "boss")
    for text in ("", "[]", "{}", '{"rate": 7, "configured": 0.05}'):
        path.write_text(text)
        damaged = AskedRate(path, own)
        assert damaged.now.rate == 0.05
        assert "could not be read" in damaged.now.note
