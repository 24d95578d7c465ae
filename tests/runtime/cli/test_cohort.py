"""`run --cohort` keeps what the camera sees; `gallery cohort` shows and clears it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.runtime import invoke, invoked, noisy, picture

from vision_edge.cli.run_cohort import collecting
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve things, each shown three times."""
    folder = tmp_path_factory.mktemp("line")
    for number in range(36):
        shot = noisy(picture(number // 3, 120), number)
        cv2.imwrite(str(folder / f"{number:02d}.png"), shot)
    return folder


def cohort(gallery: Path, *more: str) -> dict[str, Any]:
    return dict(json.loads(invoked("gallery", "cohort", "--gallery", gallery, "--json", *more)))


def test_pictures_are_kept_only_if_asked(bundle_path: Path, registered: Path, line: Path) -> None:
    invoked("run", bundle_path, line, "--gallery", registered)
    assert cohort(registered)["frames"] == 0
    invoked("run", bundle_path, line, "--gallery", registered, "--cohort")
    found = cohort(registered)
    assert 10 <= found["frames"] <= 20 and found["stand_for"] == 36, "each thing once or so"
    assert found["since"] and found["most"] == 256
    size = registered.stat().st_size
    assert size < 400_000, "embeddings, no pictures"


def test_with_and_without_what_was_seen(bundle_path: Path, registered: Path, line: Path) -> None:
    def rates(*more: str) -> list[float]:
        rows = registered.parent / "rows"
        invoked("run", bundle_path, line, "--gallery", registered, "--jsonl", rows, *more)
        return [json.loads(row)["stranger_rate"] for row in rows.read_text().splitlines()]

    before = rates()
    invoked("run", bundle_path, line, "--gallery", registered, "--cohort")
    assert rates() != before == rates("--no-cohort")


def test_it_is_told_and_cleared(bundle_path: Path, registered: Path, line: Path) -> None:
    said = invoked("gallery", "cohort", "--gallery", registered)
    assert "no frames of the station are kept" in said
    invoked("run", bundle_path, line, "--gallery", registered, "--cohort")
    said = invoked("gallery", "cohort", "--gallery", registered)
    assert "of at most 256 frames of the station, no pictures" in said and "stand for 36" in said
    frames = cohort(registered)["frames"]
    assert f"{frames} frame(s) forgotten" in invoked(
        "gallery", "cohort", "--gallery", registered, "--clear"
    )
    assert cohort(registered)["frames"] == 0
    assert cohort(registered, "--clear")["forgotten"] == 0, "again is no trouble"
    assert json.loads(invoked("gallery", "list", "--gallery", registered, "--json"))["products"]


def test_a_camera_is_kept_by_default(bundle_path: Path, registered: Path) -> None:
    session = open_session(load_bundle(bundle_path), "cpu")
    judge = CurrentClassifier(registered, session)
    for wanted, live, kept in ((None, False, 0), (False, True, 0), (None, True, 1)):
        with collecting(judge, registered, session, wanted=wanted, live=live):
            judge.classify(session.bundle.cohort[0])
        assert judge.seen is None and cohort(registered)["frames"] == kept


def test_a_gallery_that_cannot_be_written_stops_nothing(
    bundle_path: Path, registered: Path, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vision_edge.runtime.errors import GalleryError
    from vision_edge.runtime.gallery.gallery import Gallery

    def refuse(*_: object) -> None:
        raise GalleryError("the disk is full")

    monkeypatch.setattr(Gallery, "keep_frames", refuse)
    done = invoke("run", bundle_path, line, "--gallery", registered, "--cohort")
    assert done.exit_code == 0 and "36 verdict(s)" in done.output
    assert done.output.count("the disk is full") == 1
