"""Frames by the views of a snapshot: three at once, in turns, or the best; within a budget."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from support.runtime import FakeEmbedder, FakeSource, cohort_of, noisy, picture, weights

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.crops import CROPS, FRAME_CROPS, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.pipeline import frame_views
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics, verdicts
from vision_edge.runtime.pipeline.frame_views import FrameViews, ViewSettings
from vision_edge.runtime.pipeline.part_verdicts import part_verdicts
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.pipeline.triggers import IntervalTrigger
from vision_edge.runtime.recognition.part_consensus import agree
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sources.frame import Frame


def classifier() -> PrototypeClassifier:
    products = np.stack([embed_snapshot(FakeEmbedder(), picture(k, 96)) for k in range(3)])
    cohort = Cohort(cohort_of(weights()), from_station=True)
    return PrototypeClassifier(
        ["p0", "p1", "p2"], products, cohort.embeddings.mean(axis=0), cohort, threshold=0.5
    )


def frames(count: int, shows: int = 0) -> list[Frame]:
    return [Frame(noisy(picture(shows, 96), k, 3), "belt", k, k / 25) for k in range(count)]


class Slow(FakeEmbedder):
    """Takes so many milliseconds an image."""

    def __init__(self, each_ms: float) -> None:
        super().__init__()
        self._each = each_ms / 1000

    def embed(self, images: Image) -> Embeddings:
        time.sleep(self._each * len(images))
        return super().embed(images)


def test_the_views_of_frames_are_the_views_of_snapshots() -> None:
    assert sorted(FRAME_CROPS) == sorted(CROPS)
    embedder, image = FakeEmbedder(), picture(5, 100)
    views = FrameViews(ViewSettings(3))
    prepared = views.prepared(image, embedder.spec)
    assert prepared.shape[0] == 3
    [(frame, patches)] = views.embed(embedder, [prepared])
    assert patches is None  # this embedder has none
    assert embedder.batches == [3]  # in one inference
    assert np.allclose(frame, embed_snapshot(embedder, image), atol=1e-5)


def test_one_view_is_the_best_crop_and_a_parts_frames_take_turns() -> None:
    spec, image, views = FakeEmbedder().spec, picture(5, 100), FrameViews()
    for turn in range(7):
        prepared = views.prepared(image, spec, turn)
        expected = prepare(cropped(image, FRAME_CROPS[turn % 3]), spec)
        assert np.array_equal(prepared, expected[None])


@pytest.mark.parametrize(("count", "inferences"), [(1, 12), (3, 36)])
def test_a_verdict_a_frame_costs_what_was_asked_for(count: Any, inferences: int) -> None:
    embedder, statistics = FakeEmbedder(), RunStatistics()
    told = list(
        verdicts(
            FakeSource(frames(12)), embedder, classifier(),
            views=ViewSettings(count), statistics=statistics,
        )
    )  # fmt: skip
    assert sum(embedder.batches) == inferences
    assert statistics.fewer_views == 0
    assert {verdict.decision.label for _, verdict in told} == {"p0"}


def test_the_frames_of_a_part_come_nearer_to_the_snapshot_at_no_cost() -> None:
    """Nine frames of the registered picture itself: in turns their mean is the snapshot's."""
    shot = [Frame(picture(1, 96), "belt", k, k / 25) for k in range(9)]
    scores = {}
    for name, crops in (("turns", None), ("best crop", (FRAME_CROPS[0],) * 3)):
        embedder = FakeEmbedder()
        with pytest.MonkeyPatch.context() as patch:
            if crops is not None:
                patch.setattr(frame_views, "FRAME_CROPS", crops)
            made = part_verdicts(
                FakeSource(shot), embedder, classifier(), lambda: IntervalTrigger(9.0),
                PartSettings(report="leave"),
            )  # fmt: skip
            [(_, verdict)] = list(made)
        assert embedder.batches == [1] * 9
        scores[name] = verdict.decision.score
    assert scores["turns"] > 0.9999
    assert scores["turns"] > scores["best crop"]


def test_frames_that_take_too_long_have_one_view_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frame_views, "PAUSE", 4)
    embedder, statistics = Slow(4.0), RunStatistics()
    list(
        verdicts(
            FakeSource(frames(11), live=True), embedder, classifier(), max_age_ms=1e9,
            views=ViewSettings(3, budget_ms=6.0), statistics=statistics,
        )
    )  # fmt: skip
    assert embedder.batches == [3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 3]
    assert statistics.fewer_views == 8


def test_within_the_budget_all_views_stay() -> None:
    embedder, statistics = FakeEmbedder(), RunStatistics()
    list(
        verdicts(
            FakeSource(frames(20), live=True), embedder, classifier(), max_age_ms=1e9,
            views=ViewSettings(3, budget_ms=2000.0), statistics=statistics,
        )
    )  # fmt: skip
    assert embedder.batches == [3] * 20
    assert statistics.fewer_views == 0


@pytest.mark.parametrize(
    ("views", "budget"), [(2, None), (0, None), (3, 0.0), (3, -1.0), (3, float("nan")), (1, 10.0)]
)
def test_settings_that_mean_nothing_are_refused(views: Any, budget: float | None) -> None:
    with pytest.raises(VisionEdgeError):
        ViewSettings(views, budget)


def test_frames_of_three_kinds_all_count_and_a_hand_in_some_does_not() -> None:
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 4, (3, 16)).astype(np.float32)
    products = np.eye(3, 16, dtype=np.float32) * 20
    none = Cohort(np.zeros((0, 16), np.float32), from_station=False)
    judge = PrototypeClassifier(["a", "b", "c"], products, products.mean(0), none, threshold=0.0)
    seen, kinds = [], []
    for kind, hand in itertools.product(range(3), [0, 0, 0, 1]):
        seen.append(products[1 if hand else 0] + offsets[kind] + rng.normal(0, 0.1, 16))
        kinds.append(kind)
    found = agree(judge, "mean", np.array(seen, np.float32), kinds)
    assert found.decision.label == "a"
    expected = judge.scores(products[0] + offsets.mean(axis=0))[0, 0]
    assert found.decision.score == pytest.approx(float(expected), abs=0.02)
    assert all(n % 4 != 3 for n in found.order[:3])
