"""What the cameras saw, over HTTP: collected, told, forgotten; off by the settings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.station import eventually, served, settings_for, strangers


def test_it_is_collected_told_and_forgotten(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    folder = strangers(tmp_path / "shown", 6)
    with served(settings_for(bundle_path, registered, folder)) as station:
        eventually(lambda: station.station.lines[0].frames > 30)
    with served(settings_for(bundle_path, registered, folder)) as station:
        found = station.ok(station.get("/cohort"))
        assert found["collecting"] and 1 <= found["frames"] <= 6 and found["most"] == 256
        assert found["stand_for"] >= 20 and found["since"] <= found["last"]
        version = station.ok(station.get("/products"))["version"]
        cleared = station.ok(station.post("/cohort/clear"))
        assert cleared["frames"] == 0 and cleared["since"] is None
        assert station.ok(station.get("/products"))["version"] == version
        audited = (station.station.state.path / "audit.jsonl").read_text()
        assert '"forgotten"' in audited


def test_off_is_off(bundle_path: Path, registered: Path, tmp_path: Path) -> None:
    settings = settings_for(
        bundle_path, registered, strangers(tmp_path / "shown"), scoring={"cohort": False}
    )
    with served(settings) as station:
        eventually(lambda: station.station.lines[0].frames > 10)
        assert station.station.products.model.seen is None
    with served(settings) as station:
        found = station.ok(station.get("/cohort"))
    assert (found["collecting"], found["frames"]) == (False, 0)


def test_what_is_kept_changes_the_rate_at_once_and_the_gallery_is_not_told_as_changed(
    bundle_path: Path, registered: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    from vision_edge.runtime.gallery.gallery import Gallery
    from vision_edge.runtime.gallery.station_frames import SeenFrame

    caplog.set_level(logging.WARNING)
    folder = strangers(tmp_path / "shown")
    with served(settings_for(bundle_path, registered, folder)) as station:
        products = station.station.products
        before, version = products.model.classifier, products.version
        rng = np.random.default_rng(0)
        bundle = station.station.session.bundle
        drawn = bundle.cohort.mean(axis=0) + rng.standard_normal((80, bundle.cohort.shape[1]))
        with Gallery(registered, bundle.manifest.identity) as gallery:
            gallery.keep_frames([SeenFrame(row.astype(np.float32), 1.7e9) for row in drawn])
        eventually(lambda: products.model.classifier is not before)
        assert products.version == version
    assert not caplog.records
