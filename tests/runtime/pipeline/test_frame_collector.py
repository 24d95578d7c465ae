"""Frames are collected quietly, each kind once, and what judges learns of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import DIM, make_bundle, noisy, picture

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline import frame_collector
from vision_edge.runtime.pipeline.frame_collector import FrameCollector
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier
from vision_edge.runtime.pipeline.registration import snapshot_of


@pytest.fixture
def session(tmp_path: Path) -> Session:
    make_bundle(tmp_path / "bundle")
    return open_session(load_bundle(tmp_path / "bundle"), "cpu")


@pytest.fixture
def path(tmp_path: Path, session: Session) -> Path:
    with Gallery(tmp_path / "g.db", session.bundle.manifest.identity, create=True) as gallery:
        for number, label in enumerate(("bolt", "nut", "washer")):
            gallery.add(label, [snapshot_of(picture(number), session, label)])
    return tmp_path / "g.db"


def kept(path: Path) -> Any:
    with GalleryReader(path) as gallery:
        return gallery.frames.kept(gallery.model)


def random(session: Session, seed: int, count: int = 1) -> Embeddings:
    """Return embeddings of things as unlike as the bundle's cohort."""
    cohort = session.bundle.cohort
    drawn = np.random.default_rng(seed).standard_normal((count, DIM))
    return (cohort.mean(axis=0) + 3 * cohort.std(axis=0) * drawn).astype(np.float32)


def test_what_is_offered_is_there_after_the_end(path: Path, session: Session) -> None:
    collector = FrameCollector(path, session.bundle)
    for number in range(20):
        collector.offer(random(session, number)[0])
    collector.close()
    assert collector.new == len(kept(path).embeddings) == 20


def test_a_part_shown_two_hundred_times_counts_once(path: Path, session: Session) -> None:
    """Whether it came in this run, in one before, or in this one and another's at once."""
    for _ in range(2):
        collector = FrameCollector(path, session.bundle)
        for seed in range(50):
            collector.offer(embed_frame(session, noisy(picture(7), seed, 3)))
            collector.offer(embed_frame(session, picture(8)))
        collector.close()
    found = kept(path)
    assert len(found.embeddings) == 2
    assert found.times.sum() <= 200 and found.times.min() > 20


def test_of_several_frames_of_one_part_the_first_counts(path: Path, session: Session) -> None:
    collector = FrameCollector(path, session.bundle)
    collector.offer(random(session, 0, 5))
    collector.close()
    assert np.allclose(kept(path).embeddings, random(session, 0, 5)[:1])


def test_nothing_fails_and_it_is_told_once(path: Path, session: Session, tmp_path: Path) -> None:
    told: list[VisionEdgeError] = []
    collector = FrameCollector(tmp_path / "none" / "g.db", session.bundle, problem=told.append)
    for number in range(40):
        collector.offer(random(session, number)[0])
    collector.offer(np.full(DIM, np.nan, np.float32))
    collector.offer(np.zeros(3, np.float32))
    collector.close()
    assert len(told) == 1 and "no gallery" in told[0].what
    assert not (tmp_path / "none").exists()


def test_offering_never_waits(
    path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(FrameCollector, "_take", lambda *_: time.sleep(0.02))
    collector = FrameCollector(path, session.bundle)
    began = time.monotonic()
    for number in range(500):
        collector.offer(random(session, number)[0])
    assert time.monotonic() - began < 1.0
    assert collector._queue.qsize() <= frame_collector.AHEAD
    collector.close()


def test_a_gallery_that_is_anew_gets_nothing_of_the_former_model(
    path: Path, session: Session
) -> None:
    collector = FrameCollector(path, session.bundle)
    collector.offer(random(session, 0)[0])
    collector.close(keep=False)
    assert not len(kept(path).embeddings)


def test_what_judges_offers_what_it_judges_and_learns_of_it(path: Path, session: Session) -> None:
    told: list[tuple[int, int]] = []
    seen: list[Embeddings] = []
    judge = CurrentClassifier(
        path, session, every=0, seen=seen.append, changed=lambda *new: told.append(new)
    )
    apart = CurrentClassifier(path, session, every=0, own_frames=False)
    query = random(session, 99)
    (before,), (same,) = judge.classify(query), apart.classify(query)
    assert len(seen) == 1 and np.array_equal(seen[0], query)
    assert before == same
    collector = FrameCollector(path, session.bundle)
    for number in range(60):
        collector.offer(random(session, number)[0])
    collector.close()
    (after,), (same,) = judge.classify(query), apart.classify(query)
    assert after.stranger_rate != before.stranger_rate and after.score == before.score
    assert same == before, "without its own frames nothing changes"
    assert told == [], "the products are as before"


def test_while_there_are_no_products_frames_are_collected_too(
    tmp_path: Path, session: Session
) -> None:
    with Gallery(tmp_path / "e.db", session.bundle.manifest.identity, create=True) as gallery:
        gallery.add("bolt", [snapshot_of(picture(0), session, "bolt")])
        seen: list[Embeddings] = []
        judge = CurrentClassifier(tmp_path / "e.db", session, every=0, seen=seen.append)
        gallery.remove("bolt")
        judge.classify(random(session, 1))
    assert len(seen) == 1
