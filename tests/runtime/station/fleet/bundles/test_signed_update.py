"""A station that requires signatures starts, updates and goes back by them alone."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.provenance import Maker, make_maker, signed_bundle, trusted_until
from support.runtime import LABELS, make_bundle, noisy, picture, weights

pytest.importorskip("cryptography")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from support.station import Served, eventually, served

from vision_edge.cli.sign import _pack
from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.signing import sign_file, sign_folder, signature_of
from vision_edge.station.core.station import Station
from vision_edge.station.settings.station import StationSettings

TRIAL = {"max_latency_ratio": 1000.0, "live_frames": 2, "min_pictures": 1}


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path / "maker")


@pytest.fixture
def settings(maker: Maker, tmp_path: Path) -> StationSettings:
    shots = tmp_path / "shots"
    shots.mkdir()
    for number in range(4):
        assert cv2.imwrite(str(shots / f"{number}.png"), noisy(picture(number % 3, 96), number))
    signed_bundle(tmp_path / "bundle", maker.key, version=2)
    (tmp_path / "incoming").mkdir()
    return StationSettings(  # type: ignore[call-arg]
        bundle=tmp_path / "bundle",
        gallery=tmp_path / "gallery.db",
        sources=[{"name": "top", "address": str(shots), "loop": True, "fps": 30.0}],
        threads=1,
        server={"requests_per_second": 10_000, "port": 0},
        fleet={"bundle_from": str(tmp_path / "incoming"), "shadow": TRIAL},
        provenance={"trust": str(maker.store.path)},
    )


@pytest.fixture
def running(settings: StationSettings) -> Iterator[Served]:
    with served(settings) as made:
        with made.station.gallery("tester") as gallery:
            for number, label in enumerate(LABELS):
                model = made.station.products.model
                shown = noisy(picture(number, 96), 50 + number)
                gallery.add(label, [snapshot_of(shown, model, label)])
        yield made


def take(running: Served, **asked: Any) -> str:
    """Ask for an update, wait for its end, and return how it went."""
    running.ok(running.post("/bundle", json=asked), 202)
    eventually(
        lambda: (
            running.ok(running.get("/bundle"))["state"] not in ("fetching", "trying", "switching")
        ),
        60.0,
    )
    document = running.ok(running.get("/bundle"))
    return f"{document['state']}: {document['error']}"


def new(maker: Maker, tmp_path: Path, name: str, version: int) -> Path:
    folder = tmp_path / "incoming" / name
    return signed_bundle(
        folder, maker.key, version=version, matrix=weights() * (1.0 + version), created=name
    )


def test_updates_are_taken_by_signature_and_age(
    running: Served, maker: Maker, tmp_path: Path
) -> None:
    new(maker, tmp_path, "newer", 3)
    new(maker, tmp_path, "older", 1)
    make_bundle(tmp_path / "incoming" / "unsigned", matrix=weights() * 3.0)
    forged = new(maker, tmp_path, "forged", 5)
    make_bundle(tmp_path / "other", matrix=weights() * 5.0)
    for name in ("manifest.json", "model.onnx", "cohort.npy"):
        shutil.copy(tmp_path / "other" / name, forged / name)
    foreign = tmp_path / "incoming" / "foreign"
    signed_bundle(foreign, PrivateKey.new(), version=9)
    assert "is not signed" in take(running, path="unsigned")
    assert "not the one that was signed" in take(running, path="forged")
    assert "not trusted here" in take(running, path="foreign")
    assert "older than version 2" in take(running, path="older")
    assert take(running, path="newer") == "switched: None"
    assert "older than version 3" in take(running, path="older")
    running.ok(running.post("/bundle/undo"))
    assert "older than version 3" in take(running, path="older"), "undo forgets nothing"
    assert take(running, path="newer") == "switched: None"
    assert take(running, path="older", allow_older=True) == "switched: None"


def test_a_zip_is_checked_before_it_is_unpacked(
    running: Served, maker: Maker, tmp_path: Path
) -> None:
    folder = signed_bundle(tmp_path / "new", maker.key, version=3, matrix=weights() * 2.0)
    archive = tmp_path / "incoming" / "new.zip"
    _pack(folder, archive)
    assert "is not signed" in take(running, path="new.zip")
    sign_file(archive, "bundle", PrivateKey.new(), "line", 3)
    assert "not trusted here" in take(running, path="new.zip")
    sign_file(archive, "bundle", maker.key, "line", 3)
    bare = tmp_path / "incoming" / "bare.zip"
    make_bundle(tmp_path / "bare", matrix=weights() * 4.0)
    with zipfile.ZipFile(bare, "w") as file:
        for entry in (tmp_path / "bare").iterdir():
            file.write(entry, entry.name)
    shutil.copy(signature_of(archive), signature_of(bare))
    digest = archive.with_name("new.zip.sha256").read_text()
    bare.with_name("bare.zip.sha256").write_text(digest)
    assert "SHA-256" in take(running, path="bare.zip")
    assert take(running, path="new.zip") == "switched: None"
    assert running.station.session.bundle.signed is not None


def test_a_station_starts_with_what_is_signed_and_outlives_a_keys_end(
    settings: StationSettings, maker: Maker, tmp_path: Path
) -> None:
    with Station(settings) as station:
        assert not [note for note in station.status()["notes"] if "bundle in use" in note]
    trusted_until(maker, -1)
    with Station(settings) as station:
        assert any("expired" in note for note in station.status()["notes"])
    trusted_until(maker, 30)
    sign_folder(tmp_path / "bundle", "bundle", maker.key, "line", 1)
    with pytest.raises(ProvenanceError, match="older than version 2"):
        Station(settings).start()
    signature_of(tmp_path / "bundle").unlink()
    with pytest.raises(ProvenanceError, match="is not signed"):
        Station(settings).start()
    for off in ({"require_signature": False}, {"require_signature": False, "names": ["x"]}):
        section = settings.provenance.model_copy(update=off) if settings.provenance else None
        with Station(settings.model_copy(update={"provenance": section})) as station:
            assert station.ready
