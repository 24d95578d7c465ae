"""Ranking by patches: laws of the preference."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision_edge.runtime.recognition.patch_ranking import NEAREST, PatchRanking, patch_score
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

DIM, COUNT = 12, 5


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def patches(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(0, 1, (COUNT, DIM)))


@given(st.integers(0, 999), st.integers(0, 999))
def test_a_picture_holds_its_own_patches_best_in_any_order(one: int, other: int) -> None:
    query = patches(one)
    assert patch_score(query, query[::-1]) > 1 - 1e-5
    assert -1 - 1e-5 <= patch_score(query, patches(other)) <= patch_score(query, query) + 1e-5
    more = np.concatenate([patches(other), patches(other + 1)])
    assert patch_score(query, more) >= patch_score(query, patches(other)) - 1e-6


@given(st.integers(0, 99), st.integers(1, 12))
def test_only_the_nearest_are_ranked_anew_and_all_of_them_gain(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (2, count)).astype(np.float32)
    ranking = PatchRanking([[patches(k)] for k in range(count)], 0.5)
    preferred = ranking.preferences(scores, [patches(3), None])
    assert np.array_equal(preferred[1], scores[1])  # without patches, nothing changes
    changed = np.flatnonzero(preferred[0] != scores[0])
    assert len(changed) <= NEAREST
    nearest = np.argsort(-scores[0])[:NEAREST]
    assert set(changed) <= set(nearest.tolist())
    assert set(np.argsort(-preferred[0])[:1].tolist()) <= set(nearest.tolist())


@given(st.integers(0, 99))
def test_the_product_that_holds_the_patches_is_preferred_by_the_weight(seed: int) -> None:
    scores = np.array([[0.60, 0.59, 0.1]], np.float32)
    products = [[patches(seed + 1)], [patches(seed)], [patches(seed + 2)]]
    for weight, best in ((0.0, 0), (1.0, 1)):
        preferred = PatchRanking(products, weight).preferences(scores, [patches(seed)])
        assert preferred[0].argmax() == best


def test_a_product_without_patches_is_neither_preferred_nor_passed_over() -> None:
    scores = np.array([[0.5, 0.5, 0.5]], np.float32)
    ranking = PatchRanking([[patches(1)], [], [patches(2)]], 1.0)
    first, middle, last = ranking.preferences(scores, [patches(1)])[0]
    assert last < middle < first
    alone = PatchRanking([[patches(1)], [], []], 1.0).preferences(scores, [patches(9)])
    assert np.array_equal(alone, scores)  # one alone has nothing to be compared with


def test_of_several_snapshots_the_one_that_fits_best_counts() -> None:
    scores = np.array([[0.5, 0.5]], np.float32)
    ranking = PatchRanking([[patches(1), patches(2)], [patches(3)]], 1.0)
    one, _ = ranking.preferences(scores, [patches(2)])[0]
    assert one > 1.49


def test_patches_decide_which_product_and_not_whether_it_is_known() -> None:
    products = unit(np.eye(3, DIM) + 0.2)
    query = (products[:1] + products[1:2]) / 2 + 0.01 * products[:1]
    none = Cohort(np.zeros((0, DIM), np.float32), from_station=False)
    ranking = PatchRanking([[patches(7)], [patches(8)], [patches(9)]], 0.5)
    for threshold in (0.0, 0.99):
        classifier = PrototypeClassifier(
            ["a", "b", "c"], products, products.mean(axis=0), none,
            threshold=threshold, ranking=ranking,
        )  # fmt: skip
        (plain,) = classifier.classify(query.astype(np.float32))
        (ranked,) = classifier.classify(query.astype(np.float32), [patches(8)])
        assert (plain.nearest, ranked.nearest) == ("a", "b")
        assert ranked.known == plain.known == (threshold == 0.0)
        scores = classifier.scores(query.astype(np.float32))[0]
        assert ranked.score == float(scores[1])  # what is said of it stays the cosine
        assert ranked.margin is not None
        assert ranked.margin > 0
