"""What frames tell that nobody named: the rate comes nearer, and nothing poisons it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.station_mixture import INDEPENDENT, told_by_frames
from vision_edge.runtime.recognition.strangers import Cohort

D = 48
ORIGIN = np.zeros(D, np.float32)
NONE = np.zeros((0, D), np.float32)
RATE = 0.05


def world(seed: int, classes: int, pictures: int, common: float) -> Any:
    """Return pictures of classes that have so much in common: float32 (classes, pictures, D)."""
    rng = np.random.default_rng(seed)
    kinds = common * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    return (kinds + 0.8 * rng.standard_normal((classes, pictures, D))).astype(np.float32)


def classifier(snapshots: Any, seen: Any = None) -> PrototypeClassifier:
    names = [str(number) for number in range(len(snapshots))]
    cohort = Cohort(NONE, from_station=False, seen=seen)
    return PrototypeClassifier(
        names, list(snapshots), ORIGIN, cohort, false_accept_rate=RATE, same_picture=0.999
    )


def known(judge: PrototypeClassifier, pictures: Any) -> float:
    return float(np.mean([d.known for d in judge.classify(pictures.reshape(-1, D))]))


def test_without_frames_nothing_changes() -> None:
    pictures = world(0, 4, 8, 0.6)
    plain, empty = classifier(pictures[:3, :2]), classifier(pictures[:3, :2], NONE)
    queries = pictures[:, 2:].reshape(-1, D)
    assert plain.classify(queries) == empty.classify(queries)


@pytest.mark.parametrize("products", [2, 3, 5, 8])
@pytest.mark.parametrize("common", [0.0, 0.9])
def test_the_rate_comes_nearer_to_what_was_asked(products: int, common: float) -> None:
    """In a domain of look-alikes and in one of unlike things, whatever share shows products."""
    before, after = [], []
    for seed in range(12):
        pictures = world(seed, products + 24, 14, common)
        own, strange = pictures[:products], pictures[products:]
        seen = np.concatenate([own[:, 8:].reshape(-1, D), strange[:12, :4].reshape(-1, D)])
        judged = strange[12:, :4]
        before.append(known(classifier(own[:, :1]), judged))
        after.append(known(classifier(own[:, :1], seen), judged))
    assert 0.015 <= np.mean(after) <= 0.13
    assert abs(np.mean(after) - RATE) <= abs(np.mean(before) - RATE) + 0.035


def test_more_of_the_parts_are_named() -> None:
    gained = []
    for seed in range(12):
        pictures = world(seed, 20, 14, 0.9)
        own, strange = pictures[:3], pictures[3:]
        seen = np.concatenate([own[:, 8:].reshape(-1, D), strange[:, :3].reshape(-1, D)])
        fresh = own[:, 3:8]
        gained.append(
            known(classifier(own[:, :1], seen), fresh) - known(classifier(own[:, :1]), fresh)
        )
    assert np.mean(gained) > 0.05


@pytest.mark.parametrize("times", [1, 20, 200])
@pytest.mark.parametrize("snapshots", [1, 3])
def test_a_product_that_was_fed_as_a_stranger_is_no_harm_once_registered(
    times: int, snapshots: int
) -> None:
    """A law: whatever was fed, the product is named and strangers are not let in for it."""
    clean, poisoned, clean_in, let_in = [], [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pictures = world(seed, 12, 12 + times, 0.5)
        own, strange = pictures[:4], pictures[4:]
        seen = strange[:4, :8].reshape(-1, D)
        fed = own[3, 12:][rng.permutation(times)]
        fresh, judged = own[3, 3:12], strange[4:, :8]
        judge = classifier(own[:, :snapshots], seen)
        clean.append(known(judge, fresh))
        clean_in.append(known(judge, judged))
        judge = classifier(own[:, :snapshots], np.concatenate([seen, fed]))
        poisoned.append(known(judge, fresh))
        let_in.append(known(judge, judged))
    assert np.mean(poisoned) >= np.mean(clean) - 0.1
    assert np.mean(let_in) <= max(np.mean(clean_in) + 0.03, RATE)


def test_frames_of_products_alone_let_nobody_in() -> None:
    before, after = [], []
    for seed in range(12):
        pictures = world(seed, 12, 40, 0.5)
        own, strange = pictures[:4], pictures[4:, :8]
        before.append(known(classifier(own[:, :2]), strange))
        after.append(known(classifier(own[:, :2], own[:, 10:].reshape(-1, D)), strange))
    assert np.mean(after) <= np.mean(before) + 0.01


@pytest.mark.parametrize("count", [1, 5, 64, 65, 1000])
@pytest.mark.parametrize("own", [0, 1, 30])
def test_a_higher_score_is_never_likelier_a_strangers(count: int, own: int) -> None:
    rng = np.random.default_rng(count)
    told = told_by_frames(rng.normal(0.4, 0.1, count), 0.4, 0.15, 0.08, rng.normal(0.7, 0.1, own))
    tail = told.tail(np.linspace(-1, 1, 101))
    assert (np.diff(tail) <= 1e-9).all() and tail[0] > 0.99 and tail[-1] < 0.01
    assert 0 < told.count <= min(count, INDEPENDENT) and 0 < told.strangers < 1
    assert np.isclose(told.odds.sum(), 1)


def test_frames_all_alike_are_no_trouble() -> None:
    told = told_by_frames(np.full(50, 0.4), 0.4, 0.15, 0.08, np.zeros(0))
    assert np.isfinite(told.tail(np.array([0.0, 0.4, 1.0]))).all()
    pictures = world(0, 2, 4, 0.5)
    same = np.repeat(pictures[:1, 3], 30, axis=0)
    assert known(classifier(pictures[:2, :1], same), pictures[:2, :1]) == 1.0
