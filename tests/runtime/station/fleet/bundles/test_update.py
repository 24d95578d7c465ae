"""A running station takes a new bundle over its API, or refuses it, and can go back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import LABELS, make_bundle, noisy, picture, weights

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
from support.cli import refused_command, run_command
from support.station import served

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.station.core.station import Station
from vision_edge.station.fleet.bundles.shadow_trial import Material
from vision_edge.station.fleet.bundles.update import bounded
from vision_edge.station.fleet.host import line_wire
from vision_edge.station.settings.station import StationSettings

RELAXED = {"max_latency_ratio": 1000.0, "live_frames": 4}


class Run:
    """A started station and a client that may do everything."""

    def __init__(self, station: Station, client: httpx.Client, url: str, incoming: Path) -> None:
        self.station, self.client, self.url, self.incoming = station, client, url, incoming

    def get(self) -> dict[str, Any]:
        answer = self.client.get("/api/v1/bundle")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def take(self, **asked: Any) -> dict[str, Any]:
        """Ask for an update, and wait for its end."""
        answer = self.client.post("/api/v1/bundle", json=asked)
        assert answer.status_code == 202, answer.text
        until(lambda: self.get()["state"] not in ("fetching", "trying", "switching"))
        return self.get()

    @property
    def bundle(self) -> str:
        return str(self.station.status()["bundle"]["name"])


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    incoming, shots = tmp_path / "incoming", tmp_path / "shots"
    make_bundle(tmp_path / "bundle", name="present")
    make_bundle(incoming / "equal", matrix=weights() * 2.0, name="equal")
    blind = np.zeros_like(weights())
    blind[:, 0] = weights()[:, 0] * 1e-4
    make_bundle(incoming / "blind", matrix=blind, name="blind")
    shots.mkdir()
    for number in range(6):
        assert cv2.imwrite(str(shots / f"{number}.png"), noisy(picture(number % 3, 96), number))
    sources = [{"name": "top", "address": str(shots), "loop": True, "fps": 30.0}]
    settings = StationSettings(
        bundle=tmp_path / "bundle",
        gallery=tmp_path / "gallery.db",
        sources=sources,
        threads=1,
        server={"requests_per_second": 10_000, "port": 0},
        fleet={"bundle_from": str(incoming), "shadow": RELAXED},
    )
    with served(settings) as made:
        with made.station.gallery("tester") as gallery:
            for number, label in enumerate(LABELS):
                shown = [noisy(picture(number, 96), 50 + 10 * number + k) for k in range(2)]
                model = made.station.products.model
                gallery.add(label, [snapshot_of(image, model, label) for image in shown])
        yield Run(made.station, made.client, made.url, incoming)


def test_a_good_bundle_takes_over_and_the_former_comes_back(run: Run, tmp_path: Path) -> None:
    tried = run.take(path="equal", dry_run=True)
    assert (tried["state"], run.bundle) == ("accepted", "present")
    done = run.take(path="equal")
    assert (done["state"], run.bundle) == ("switched", "equal")
    assert done["report"]["agreement"] == 1.0
    assert done["report"]["pictures"] >= 8
    kept = json.loads((tmp_path / "gallery.db.station" / "bundle-report.json").read_text())
    assert kept == done["report"]
    with run.station.products.opened() as gallery:
        assert sorted(gallery.state()) == sorted(LABELS)
    until(lambda: bool(run.station.records(1)))
    undone = run.client.post("/api/v1/bundle/undo")
    assert undone.status_code == 200, undone.text
    assert run.bundle == "present"
    assert run.take(path="equal")["state"] == "switched"
    (kept_bundle,) = (tmp_path / "gallery.db.station" / "bundles").glob("bundle-*")
    assert load_bundle(kept_bundle).manifest.name == "equal"


def test_a_bad_bundle_is_refused_with_figures_and_nothing_changes(run: Run, tmp_path: Path) -> None:
    with run.station.products.opened() as gallery:
        before = gallery.version
    done = run.take(path="blind")
    assert (done["state"], run.bundle) == ("refused", "present")
    assert done["report"]["reasons"]
    assert "refused" in done["text"]
    with run.station.products.opened() as gallery:
        assert gallery.version == before
    assert not list((tmp_path / "gallery.db.station" / "bundles").iterdir())


def test_what_cannot_be_had_says_why(run: Run) -> None:
    absent = run.take(path="absent")
    assert absent["state"] == "failed"
    assert "no such bundle" in absent["error"]
    assert "not inside" in run.take(path="../bundle")["error"]
    model = run.incoming / "equal" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    altered = run.take(path="equal")["error"]
    assert "altered" in altered
    for told in (altered, absent["error"]):
        assert str(run.incoming.parent) not in told
    assert run.bundle == "present"
    for bad in ({}, {"path": "a", "url": "b"}, {"path": "a", "sha256": "x"}, {"path": 1}):
        assert run.client.post("/api/v1/bundle", json=bad).status_code == 422
    nothing = run.client.post("/api/v1/bundle/undo")
    assert nothing.status_code == 409
    del run.client.headers["X-CSRF-Token"]
    assert run.client.post("/api/v1/bundle", json={"path": "equal"}).status_code == 403


def test_the_command_line_asks_a_running_station(run: Run, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    said = run_command("update", "equal", "--station", run.url, "--dry-run", "--json", report)
    assert "accepted" in said
    assert "tried only" in said
    assert json.loads(report.read_text())["state"] == "accepted"
    assert "in use" in run_command("update", "equal", "--station", run.url)
    assert run.bundle == "equal"
    run_command("update", "--undo", "--station", run.url)
    assert run.bundle == "present"
    refused = refused_command("update", "absent", "--station", run.url)
    assert "no such bundle" in str(refused)
    for wrong in (["--undo", "equal"], ["x", "--station", "ftp://x"], ["x"], []):
        address = [] if "--station" in wrong else ["--station", "http://127.0.0.1:1"]
        refused_command("update", *wrong, *address)
    token = tmp_path / "token"
    token.write_text("two words")
    refused_command("update", "x", "--station", run.url, "--token-file", token)
    token.write_text("unknown-token-of-some-length")
    unknown = refused_command("update", "x", "--station", run.url, "--token-file", token)
    assert "refuses" in str(unknown)


def test_pictures_are_bounded_and_evenly_chosen() -> None:
    image = picture(0)
    shown = [(str(number), image) for number in range(100)]
    material = bounded(Material(shown, [(None, image)] * 50, [image] * 100), 50)
    assert material.count == 50
    assert len(material.negatives) == 10
    assert (material.snapshots[0][0], material.snapshots[-1][0]) == ("0", "99")
    few = Material(shown[:3], [], [image])
    assert bounded(few, 50) is few


def test_sharing_needs_a_broker(tmp_path: Path) -> None:
    settings = StationSettings(
        bundle=tmp_path,
        gallery=tmp_path / "g.db",
        sources=[{"name": "a", "address": "x.png"}],
        fleet={"line": "hall-1", "share_gallery": True},
    )
    with pytest.raises(VisionEdgeError, match=r"\[mqtt\]"):
        line_wire(Station(settings))
    alone = settings.model_copy(update={"fleet": None})
    assert line_wire(Station(alone)) is None
