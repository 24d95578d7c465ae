"""Frames to verdicts in order, stale ones left out; snapshots into the gallery, whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import (
    DIM,
    LABELS,
    SIZE,
    FakeEmbedder,
    FakeSource,
    cohort_of,
    noisy,
    picture,
    reference_embeddings,
    weights,
)

from vision_edge.runtime.errors import ImageError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import decode_image, encode_jpeg
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics, verdicts
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for, prior_of
from vision_edge.runtime.pipeline.registration import (
    register,
    snapshot_of,
    snapshots_of,
    take_frame,
)
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot, kept_snapshot
from vision_edge.runtime.recognition.product_scores import PRIOR_WEIGHT
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sources.files import ImageSource
from vision_edge.runtime.sources.frame import Frame


def frame(number: int, shows: int = 0, captured: float | None = None) -> Frame:
    image = noisy(picture(shows, 96), number)
    return Frame(image, "belt", number, time.monotonic() if captured is None else captured)


@pytest.fixture(scope="module")
def classifier() -> PrototypeClassifier:
    """Knows pictures 0, 1 and 2 as bolt, nut and washer."""
    products = np.stack([prepare(picture(k, 96), FakeEmbedder().spec) for k in range(3)])
    cohort = cohort_of(weights())
    return PrototypeClassifier(
        LABELS,
        reference_embeddings(products, weights()),
        cohort.mean(axis=0),
        Cohort(cohort, from_station=True),
        threshold=0.9,
    )


def ahead_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prepare ahead"]


def test_every_frame_gets_its_verdict_in_order(classifier: PrototypeClassifier) -> None:
    shows = [0, 1, 2, 7, 1, 0, 8, 2] * 5
    frames = [frame(number, picture_number) for number, picture_number in enumerate(shows)]
    embedder, statistics = FakeEmbedder(), RunStatistics()
    got = list(verdicts(FakeSource(frames), embedder, classifier, statistics=statistics))
    assert [seen for seen, _ in got] == frames
    assert [verdict.frame for _, verdict in got] == list(range(40))
    names = [LABELS[k] if k < 3 else None for k in shows]
    assert [verdict.decision.label for _, verdict in got] == names
    assert {verdict.source for _, verdict in got} == {"belt"}
    assert embedder.batches == [1] * 40
    assert (statistics.frames, statistics.stale) == (40, 0)
    assert 0 < statistics.session_seconds < statistics.seconds < 30
    now = datetime.now(timezone.utc)
    assert all(0 <= (now - verdict.time).total_seconds() < 30 for _, verdict in got)


def test_a_verdict_carries_the_age_of_its_frame(classifier: PrototypeClassifier) -> None:
    for live in (False, True):
        old = [frame(0, captured=time.monotonic() - 0.3)]
        ((_, verdict),) = verdicts(FakeSource(old, live=live), FakeEmbedder(), classifier)
        assert 300 <= verdict.age_ms < 5000


def test_a_stale_live_frame_gets_no_verdict_and_is_counted(classifier: PrototypeClassifier) -> None:
    now = time.monotonic()
    frames = [frame(k, captured=now if k % 3 == 0 else now - 100) for k in range(9)]
    statistics = RunStatistics()
    source = FakeSource(frames, live=True)
    got = list(verdicts(source, FakeEmbedder(), classifier, statistics=statistics, max_age_ms=9e4))
    assert [verdict.frame for _, verdict in got] == [0, 3, 6]
    assert (statistics.frames, statistics.stale) == (3, 6)


def test_a_model_too_slow_for_the_limit_gives_no_verdicts(classifier: PrototypeClassifier) -> None:
    class Slow(FakeEmbedder):
        def embed(self, images: Any) -> Any:
            time.sleep(0.03)
            return super().embed(images)

    def film() -> Iterator[Frame]:
        yield from (frame(number) for number in range(3))

    statistics = RunStatistics()
    source = FakeSource(film(), live=True)
    assert not list(verdicts(source, Slow(), classifier, statistics=statistics, max_age_ms=10))
    assert statistics.stale == 3


def test_an_old_frame_of_a_file_is_as_good_as_new(classifier: PrototypeClassifier) -> None:
    frames = [frame(k, captured=time.monotonic() - 1000) for k in range(4)]
    assert len(list(verdicts(FakeSource(frames), FakeEmbedder(), classifier, max_age_ms=1))) == 4


def test_files_are_read_ahead_but_not_far(classifier: PrototypeClassifier) -> None:
    read: list[int] = []

    def film() -> Iterator[Frame]:
        for number in range(1000):
            read.append(number)
            yield frame(number)

    stream = verdicts(FakeSource(film()), FakeEmbedder(), classifier)
    next(stream)
    limit = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.05)
    assert 3 <= len(read) <= 6
    stream.close()


def test_a_live_source_is_not_read_ahead(classifier: PrototypeClassifier) -> None:
    read: list[int] = []

    def film() -> Iterator[Frame]:
        for number in range(1000):
            read.append(number)
            yield frame(number)

    stream = verdicts(FakeSource(film(), live=True), FakeEmbedder(), classifier)
    next(stream)
    time.sleep(0.05)
    assert read == [0]
    assert ahead_threads() == []


@pytest.mark.parametrize("how", ["close", "break", "drop"])
def test_a_consumer_that_stops_early_stops_the_thread(
    classifier: PrototypeClassifier, how: str
) -> None:
    assert ahead_threads() == []
    for _ in range(10):
        stream = verdicts(
            FakeSource(frame(number) for number in range(1000)), FakeEmbedder(), classifier
        )
        for _frame, verdict in stream:
            assert len(ahead_threads()) == 1
            if verdict.frame == 3:
                break
        if how == "close":
            stream.close()
        del stream
    assert ahead_threads() == []


def test_the_thread_is_gone_after_the_last_frame(classifier: PrototypeClassifier) -> None:
    list(verdicts(FakeSource([frame(0)]), FakeEmbedder(), classifier))
    assert ahead_threads() == []


@pytest.mark.parametrize("error", [ImageError("torn"), ZeroDivisionError("x"), KeyboardInterrupt()])
def test_an_error_of_the_source_comes_after_the_frames_before_it(
    classifier: PrototypeClassifier, error: BaseException
) -> None:
    def film() -> Iterator[Frame]:
        yield from (frame(number) for number in range(5))
        raise error

    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        for _, verdict in verdicts(FakeSource(film()), FakeEmbedder(), classifier):
            seen.append(verdict.frame)
    assert caught.value is error
    assert seen == [0, 1, 2, 3, 4]
    assert ahead_threads() == []


def test_an_error_of_the_session_stops_the_thread(classifier: PrototypeClassifier) -> None:
    class Broken(FakeEmbedder):
        def embed(self, images: Any) -> Any:
            raise VisionEdgeError("out of memory")

    with pytest.raises(VisionEdgeError, match="out of memory"):
        list(verdicts(FakeSource(frame(k) for k in range(100)), Broken(), classifier))
    assert ahead_threads() == []


def test_an_image_that_cannot_be_prepared_is_an_error(classifier: PrototypeClassifier) -> None:
    grey: Any = np.zeros((9, 9), np.uint8)
    source = FakeSource([frame(0), Frame(grey, "belt", 1, 0.0)])
    with pytest.raises(ImageError, match="got uint8"):
        list(verdicts(source, FakeEmbedder(), classifier))


def test_the_classifier_of_a_gallery_has_its_products_and_the_bundles_centre(
    gallery: Gallery, session: Session
) -> None:
    with pytest.raises(VisionEdgeError, match="no products"):
        classifier_for(gallery, session)
    for number, label in enumerate(LABELS):
        register(gallery, session, label, [frame(number, number)])
    got = classifier_for(gallery, session, threshold=0.25)
    assert got.labels == tuple(LABELS)
    assert got.threshold == 0.25
    prototypes, prior = gallery.prototypes()[1], prior_of(session.bundle)
    expected = (PRIOR_WEIGHT * prior + prototypes.sum(axis=0)) / (PRIOR_WEIGHT + 3)
    assert np.allclose(got.centre, expected, atol=1e-5)
    strict, lax = (classifier_for(gallery, session, false_accept_rate=rate) for rate in (0.01, 0.5))
    assert (strict.false_accept_rate, lax.false_accept_rate) == (0.01, 0.5)


def test_a_jpegs_own_bytes_are_kept(gallery: Gallery, session: Session, tmp_path: Path) -> None:
    data = encode_jpeg(noisy(picture(1, 96), 1), quality=60)
    (tmp_path / "shot.png").write_bytes(data)  # whatever it is called
    (snapshot,) = snapshots_of(session, [tmp_path / "shot.png"])
    assert snapshot.jpeg == data
    assert snapshot.origin == str(tmp_path / "shot.png")
    assert np.array_equal(snapshot.embedding, embed_snapshot(session, decode_image(data, "x")))
    assert register(gallery, session, "nut", [tmp_path / "shot.png"]) == 1
    assert np.array_equal(gallery.snapshots.image(1), decode_image(data, "x"))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_what_is_embedded_is_the_jpeg_that_is_kept(
    gallery: Gallery, session: Session, tmp_path: Path, suffix: str
) -> None:
    image = noisy(picture(1, 96), 1, amount=60)
    cv2.imwrite(str(tmp_path / f"shot{suffix}"), image)
    register(gallery, session, "nut", [tmp_path / f"shot{suffix}"])
    kept = gallery.snapshots.image(1)
    assert not np.array_equal(kept, image)  # JPEG changed it
    assert np.array_equal(gallery.prototypes()[1][0], embed_snapshot(session, kept))
    before = gallery.prototypes()[1].copy()
    gallery.reembed(session.bundle.manifest.identity, partial(kept_snapshot, session))
    assert np.array_equal(gallery.prototypes()[1], before)


def test_a_frame_is_registered_as_its_jpeg(gallery: Gallery, session: Session) -> None:
    taken = frame(0, 1)
    snapshot = snapshot_of(taken.image, session, "belt")
    assert register(gallery, session, "nut", [taken]) == 1
    assert np.array_equal(gallery.prototypes()[1], snapshot.embedding[None])
    assert np.array_equal(gallery.snapshots.image(1), decode_image(encode_jpeg(taken.image), "x"))
    assert snapshot.embedding.shape == (DIM,)


def test_files_are_registered_all_or_none(
    gallery: Gallery, session: Session, tmp_path: Path
) -> None:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    (tmp_path / "torn.jpg").write_bytes(encode_jpeg(picture(2))[:-40])
    for bad in (tmp_path / "torn.jpg", tmp_path / "absent.png", tmp_path):
        with pytest.raises(ImageError, match=bad.name):
            register(gallery, session, "nut", [tmp_path / "0.png", bad, tmp_path / "1.png"])
    assert gallery.version == 0
    assert register(gallery, session, "nut", [tmp_path / "0.png", tmp_path / "1.png"]) == 2


def test_a_product_registered_once_is_recognised_again_and_a_stranger_is_not(
    gallery: Gallery, session: Session, tmp_path: Path
) -> None:
    for number, label in enumerate(LABELS):
        register(gallery, session, label, [frame(number, number)])
    paths = []
    for number, shows in enumerate([2, 0, 1, 30, 0]):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), noisy(picture(shows, 120), 100 + number))
    classifier = classifier_for(gallery, session)
    got = list(verdicts(ImageSource("x", paths), session, classifier))
    assert [verdict.decision.label for _, verdict in got] == ["washer", "bolt", "nut", None, "bolt"]
    assert [verdict.source for _, verdict in got] == [str(path) for path in paths]
    assert min(v.decision.score for _, v in got if v.decision.known) > 0.9


def test_taking_a_frame_of_a_file_takes_the_first() -> None:
    assert take_frame(FakeSource(frame(k) for k in range(9))).number == 0


def test_taking_a_frame_of_a_camera_lets_the_exposure_settle() -> None:
    def film() -> Iterator[Frame]:
        yield from (frame(number) for number in range(100))

    assert take_frame(FakeSource(film(), live=True)).number == 5
    assert take_frame(FakeSource(film(), live=True), settle=2).number == 2


@pytest.mark.parametrize(("count", "live"), [(0, False), (0, True), (5, True)])
def test_a_source_that_ends_too_early_gives_no_frame(count: int, live: bool) -> None:
    source = FakeSource((frame(k) for k in range(count)), live=live, name="cam 3")
    with pytest.raises(VisionEdgeError, match="cam 3: no frame to register"):
        take_frame(source)


def test_the_size_of_the_fake_is_that_of_the_session(session: Session) -> None:
    images = np.stack([picture(k, SIZE) for k in range(3)])
    assert np.allclose(FakeEmbedder().embed(images), session.embed(images), atol=1e-4)
