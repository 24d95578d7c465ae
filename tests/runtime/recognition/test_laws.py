"""What an operator may rely on, over the whole range of use: the decision's laws.

Worlds are made up: classes of one domain, near or far from each other, whose pictures differ little
or much. A snapshot is the mean of a picture's views, a frame is one view, as in a station.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

D = 64
ORIGIN = np.zeros(D, np.float32)
NOBODY = Cohort(np.zeros((0, D), np.float32), from_station=False)


def pictures(rng: Any, classes: int, each: int, common: float, spread: float) -> Any:
    """Return frames and snapshots of classes, both float32 (classes, each, D)."""
    kinds = common * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    whole = kinds + spread * rng.standard_normal((classes, each, D))
    views = whole[:, :, None] + 0.3 * spread * rng.standard_normal((classes, each, 3, D))
    return views[:, :, 0].astype(np.float32), views.mean(axis=2).astype(np.float32)


def classifier(snapshots: list[Any], **options: Any) -> PrototypeClassifier:
    labels = [str(number) for number in range(len(snapshots))]
    return PrototypeClassifier(labels, snapshots, ORIGIN, NOBODY, **options)


counts = st.lists(st.integers(1, 10), min_size=1, max_size=16)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    counts=counts,
    common=st.sampled_from([0.0, 0.6, 1.2]),
    spread=st.sampled_from([0.4, 0.8, 1.2]),
    rate=st.sampled_from([0.001, 0.01, 0.05]),
)
def test_a_registered_picture_shown_again_is_known_as_its_product(
    seed: int, counts: list[int], common: float, spread: float, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    frames, snapshots = pictures(rng, len(counts), 10, common, spread)
    got = classifier(
        [rows[:count] for rows, count in zip(snapshots, counts, strict=True)],
        false_accept_rate=rate,
    )
    for number, count in enumerate(counts):
        for decision in got.classify(frames[number, :count]):
            assert decision.label == str(number)


def test_of_two_products_that_hold_the_same_picture_one_is_named_without_a_lead() -> None:
    rng = np.random.default_rng(0)
    frames, snapshots = pictures(rng, 5, 1, 0.6, 0.8)
    snapshots[1] = snapshots[0]
    (decision,) = classifier(list(snapshots)).classify(frames[0])
    assert decision.label in {"0", "1"}
    assert decision.margin == pytest.approx(0.0, abs=1e-6)


def test_an_odd_snapshot_is_known_though_its_product_looks_otherwise() -> None:
    rng = np.random.default_rng(0)
    frames, snapshots = pictures(rng, 6, 9, 0.6, 0.8)
    mixed = np.concatenate([snapshots[0], snapshots[5, :1]])  # a picture of something else
    (decision,) = classifier([mixed, *snapshots[1:5]]).classify(frames[5, :1])
    assert decision.label == "0"


def share_named(counts: list[int], spread: float, worlds: int = 40) -> float:
    """Return the share of frames that are named rightly, over many worlds."""
    named = []
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        frames, snapshots = pictures(rng, len(counts), 18, 0.6, spread)
        kept = [rows[:count] for rows, count in zip(snapshots, counts, strict=True)]
        got = classifier(kept)
        for number in range(len(counts)):
            decisions = got.classify(frames[number, 10:])
            named.append(np.mean([decision.label == str(number) for decision in decisions]))
    return float(np.mean(named))


@pytest.mark.parametrize("spread", [0.8, 1.2])
@pytest.mark.parametrize("products", [2, 3, 5, 8, 16])
def test_a_correct_snapshot_of_each_product_never_lowers_what_is_named(
    products: int, spread: float
) -> None:
    shares = [share_named([count] * products, spread, 25) for count in (1, 2, 3, 5, 10)]
    for fewer, more in itertools.pairwise(shares):
        assert more > fewer - 0.01
    assert shares[-1] > shares[0]


@pytest.mark.parametrize("spread", [0.8, 1.2])
def test_a_correct_snapshot_of_one_product_never_lowers_what_is_named(spread: float) -> None:
    shares = [share_named([1] * (8 - ones) + [3] * ones, spread, 40) for ones in (0, 1, 4, 8)]
    for fewer, more in itertools.pairwise(shares):
        assert more > fewer - 0.01
    one_richer = [share_named([extra, 1, 1, 1, 1], spread, 60) for extra in (1, 2, 5, 10)]
    for fewer, more in itertools.pairwise(one_richer):
        assert more > fewer - 0.01


@pytest.mark.parametrize("spread", [0.8, 1.2])
@pytest.mark.parametrize("counts", [[1] * 5, [3] * 8, [1, 10] * 4, [5] * 16], ids=str)
def test_strangers_pass_about_as_often_as_was_asked(counts: list[int], spread: float) -> None:
    for rate in (0.01, 0.05, 0.2):
        passed = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            frames, snapshots = pictures(rng, len(counts) + 8, 10, 0.6, spread)
            kept = [rows[:count] for rows, count in zip(snapshots, counts, strict=False)]
            strangers = frames[len(counts) :].reshape(-1, D)
            decisions = classifier(kept, false_accept_rate=rate).classify(strangers)
            passed.append(np.mean([decision.known for decision in decisions]))
        assert rate / 3 < np.mean(passed) < rate * 2


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    counts=counts,
    frames=st.integers(1, 300),
    shown=st.sampled_from(["others", "one product", "the snapshots", "one picture", "noise"]),
)
def test_whatever_the_camera_saw_registered_pictures_are_known_and_rates_are_shares(
    seed: int, counts: list[int], frames: int, shown: str
) -> None:
    rng = np.random.default_rng(seed)
    whole, snapshots = pictures(rng, len(counts) + 3, 10, 0.6, 0.8)
    own = [rows[:count] for rows, count in zip(snapshots, counts, strict=False)]
    sources = {
        "others": whole[len(counts) :].reshape(-1, D),
        "one product": whole[0],
        "the snapshots": np.concatenate(own),
        "one picture": whole[-1, :1],
        "noise": 1000.0 * rng.standard_normal((5, D)).astype(np.float32),
    }
    seen = sources[shown][rng.integers(len(sources[shown]), size=frames)]
    labels = [str(number) for number in range(len(own))]
    got = PrototypeClassifier(
        labels, own, ORIGIN, Cohort(NOBODY.embeddings, from_station=False, seen=seen)
    )
    for number, count in enumerate(counts):
        for decision in got.classify(whole[number, :count]):
            assert decision.label == str(number)
    rates = [d.stranger_rate for d in got.classify(whole.reshape(-1, D))]
    assert all(rate is not None and 0.0 <= rate <= 1.0 for rate in rates)
