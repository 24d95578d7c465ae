"""Scoring: the formulas, the centre, the threshold, and what must not change a decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.recognition.negatives import Negatives
from vision_edge.runtime.recognition.product_scores import (
    PRIOR_WEIGHT,
    centre_of,
    centred_cosine,
    normalise,
)
from vision_edge.runtime.recognition.prototypes import (
    PrototypeClassifier,
    negative_euclidean,
)
from vision_edge.runtime.recognition.strangers import Cohort

D = 24


def points(seed: int, count: int, dim: int = D, offset: float = 3.0) -> Any:
    """Return float32 (count, dim) embeddings about a common offset."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dim)) + offset).astype(np.float32)


def classifier(products: Any, *, from_station: bool = False, **options: Any) -> PrototypeClassifier:
    cohort = points(99, 200)
    labels = [f"p{k}" for k in range(len(products))]
    return PrototypeClassifier(
        labels, products, cohort.mean(axis=0), Cohort(cohort, from_station), **options
    )


def test_centred_cosine_is_the_naive_formula() -> None:
    queries, prototypes, centre = points(1, 7), points(2, 5), points(3, 1)[0]
    got = centred_cosine(queries, prototypes, centre)
    assert got.shape == (7, 5)
    assert got.dtype == np.float32
    for n in range(7):
        for p in range(5):
            a = queries[n].astype(float) - centre
            b = prototypes[p].astype(float) - centre
            expected = a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
            assert got[n, p] == pytest.approx(expected, abs=1e-5)


def test_negative_euclidean_is_the_naive_formula() -> None:
    queries, prototypes = points(1, 7), points(2, 5)
    got = negative_euclidean(queries, prototypes)
    expected = -np.linalg.norm(queries[:, None].astype(float) - prototypes[None], axis=2)
    assert got.shape == (7, 5)
    assert np.allclose(got, expected, atol=1e-3)
    assert np.allclose(np.diag(negative_euclidean(queries, queries)), 0.0, atol=0.02)


def test_normalised_rows_have_length_one_and_the_centre_itself_has_none() -> None:
    rows, centre = points(1, 6), points(2, 1)[0]
    unit = normalise(np.concatenate([rows, centre[None]]), centre)
    assert np.allclose(np.linalg.norm(unit, axis=1), [1] * 6 + [0], atol=1e-6)
    assert np.isfinite(unit).all()


def test_without_a_prior_the_centre_is_the_plain_mean() -> None:
    prototypes = points(1, 5)
    assert np.allclose(centre_of(prototypes), prototypes.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_the_prior_counts_for_its_weight_in_products(count: int) -> None:
    prototypes, prior = points(1, count), points(2, 1)[0]
    for weight in (1.0, PRIOR_WEIGHT):
        expected = (weight * prior + prototypes.astype(float).sum(axis=0)) / (weight + count)
        got = centre_of(prototypes, prior, weight)
        assert got.dtype == np.float32
        assert np.allclose(got, expected, atol=1e-5)
    default = centre_of(prototypes, prior)
    assert np.allclose(default, centre_of(prototypes, prior, PRIOR_WEIGHT))


def test_many_products_outweigh_the_prior() -> None:
    prototypes, far = points(1, 2000), np.full(D, 50.0, np.float32)
    assert np.abs(centre_of(prototypes, far) - prototypes.mean(axis=0)).max() < 0.3
    assert np.array_equal(centre_of(points(1, 0), far), far)


def test_a_lone_product_is_not_its_own_centre() -> None:
    (product,) = points(1, 1)
    got = classifier(product[None])
    same, stranger = got.classify(np.stack([product, points(5, 1)[0]]))
    assert (same.score, same.label, same.margin) == (pytest.approx(1.0, abs=1e-5), "p0", None)
    assert stranger.score < 0.6


def test_two_products_are_not_opposites() -> None:
    products = points(1, 2)
    unit = normalise(products, classifier(products).centre)
    assert -0.6 < float(unit[0] @ unit[1]) < 0.6
    plain = normalise(products, centre_of(products))
    assert float(plain[0] @ plain[1]) == pytest.approx(-1.0, abs=1e-5)  # what it would be


def test_the_answer_is_the_best_score_its_margin_the_lead_over_the_second() -> None:
    products, queries = points(1, 6), points(2, 40)
    got = classifier(products, threshold=0.2)
    scores = centred_cosine(queries, products, got.centre)
    decisions = got.classify(queries)
    assert len(decisions) == 40
    for row, decision in zip(scores, decisions, strict=True):
        second, best = np.sort(row)[-2:]
        assert decision.nearest == f"p{row.argmax()}"
        assert decision.score == pytest.approx(best, abs=1e-6)
        assert decision.margin == pytest.approx(best - second, abs=1e-6)
        assert decision.known == (decision.score >= 0.2)
        assert decision.label == (decision.nearest if decision.known else None)
    assert {decision.known for decision in decisions} == {False, True}


def test_one_embedding_may_come_without_a_batch() -> None:
    got = classifier(points(1, 3))
    (decision,) = got.classify(points(1, 3)[1])
    assert decision.nearest == "p1"


def test_every_product_recognises_itself() -> None:
    products = points(1, 30)
    decisions = classifier(products, threshold=0.99).classify(products)
    assert [decision.label for decision in decisions] == [f"p{k}" for k in range(30)]


def test_a_score_at_the_threshold_is_known_and_below_it_is_not() -> None:
    products, query = points(1, 3), points(2, 1)
    (free,) = classifier(products, threshold=-1.0).classify(query)
    assert free.known
    (at,) = classifier(products, threshold=free.score).classify(query)
    assert at == free
    (above,) = classifier(products, threshold=free.score + 1e-6).classify(query)
    assert (above.label, above.known, above.nearest) == (None, False, free.nearest)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.3, 1.0])
def test_a_fixed_threshold_is_taken_as_it_is(threshold: float) -> None:
    assert classifier(points(1, 3), threshold=threshold).threshold == threshold


def test_a_fixed_threshold_says_nothing_of_strangers() -> None:
    (decision,) = classifier(points(1, 3), threshold=0.2).classify(points(2, 1))
    assert (decision.stranger_rate, decision.review) == (None, False)


@pytest.mark.parametrize("from_station", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_a_smaller_false_accept_rate_never_accepts_more(count: int, from_station: bool) -> None:
    queries = points(2, 200)
    known = [
        sum(
            decision.known
            for decision in classifier(
                points(1, count), from_station=from_station, false_accept_rate=rate
            ).classify(queries)
        )
        for rate in (1e-6, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.9, 0.999)
    ]
    assert known == sorted(known)
    assert known[0] < known[-1]


def test_the_bands_follow_from_the_share_of_strangers() -> None:
    got = classifier(points(1, 5), false_accept_rate=0.05)
    decisions = got.classify(np.concatenate([points(2, 300), points(1, 5)]))
    for decision in decisions:
        assert decision.stranger_rate is not None
        band = "accept" if decision.stranger_rate <= 0.05 else "unknown"
        if 0.05 < decision.stranger_rate <= 0.25:
            band = "review"
        assert (decision.band, decision.known) == (band, band == "accept")
    assert {decision.band for decision in decisions} == {"accept", "review", "unknown"}


def test_what_is_nearer_to_a_negative_is_not_that_product() -> None:
    products, near = points(1, 3), points(1, 3)
    not_p0 = (near[0] + 0.2 * points(5, 1)[0]).astype(np.float32)
    options: Any = {"threshold": 0.0}
    before = classifier(products, **options)
    after = classifier(products, negatives=Negatives(not_p0[None], ("p0",)), **options)
    assert before.classify(not_p0)[0].label == "p0"
    assert after.classify(not_p0)[0].nearest != "p0"
    assert after.classify(products[0])[0].label == "p0"
    assert after.classify(products[1]) == before.classify(products[1])


def test_what_is_nearer_to_nothing_than_to_any_product_is_unknown() -> None:
    products, nothing = points(1, 3), points(6, 1)
    got = classifier(products, threshold=-1.0, negatives=Negatives(nothing, (None,)))
    (decision,) = got.classify(nothing)
    assert (decision.label, decision.band, decision.score) == (None, "unknown", -1.0)
    assert got.classify(products[2])[0].label == "p2"


def test_a_negative_of_a_product_that_is_gone_is_ignored() -> None:
    products = points(1, 3)
    got = classifier(products, threshold=0.0, negatives=Negatives(products[:1], ("gone",)))
    assert got.classify(products[0])[0].label == "p0"


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 8),
    shift=st.floats(-20, 20),
    scale=st.floats(0.1, 10),
    from_station=st.booleans(),
)
def test_a_common_offset_and_scale_change_no_decision(
    seed: int, count: int, shift: float, scale: float, from_station: bool
) -> None:
    direction = np.random.default_rng(seed).standard_normal(D)

    def decide(move: Any) -> list[Any]:
        products, cohort = move(points(seed, count)), move(points(seed + 1, 50))
        labels = [f"p{k}" for k in range(count)]
        made = PrototypeClassifier(
            labels, products, cohort.mean(axis=0), Cohort(cohort, from_station)
        )
        return made.classify(move(points(seed + 2, 20)))

    def move(values: Any) -> Any:
        return (values * scale + shift * scale * direction).astype(np.float32)

    before, after = decide(lambda values: values), decide(move)
    for one, other in zip(before, after, strict=True):
        assert other.score == pytest.approx(one.score, abs=2e-3)
        if one.margin is None or one.margin > 4e-3:
            assert other.nearest == one.nearest
            assert other.stranger_rate == pytest.approx(one.stranger_rate, abs=0.02)


def test_the_order_of_the_products_changes_no_decision() -> None:
    products, queries, order = points(1, 9), points(2, 30), np.random.default_rng(0).permutation(9)
    cohort = Cohort(points(99, 50), from_station=True)
    prior = cohort.embeddings.mean(axis=0)
    labels = [f"p{k}" for k in range(9)]
    one = PrototypeClassifier(labels, products, prior, cohort)
    shuffled = [labels[k] for k in order]
    other = PrototypeClassifier(shuffled, products[order], prior, cohort)
    for a, b in zip(one.classify(queries), other.classify(queries), strict=True):
        assert (a.label, a.nearest) == (b.label, b.nearest)
        assert b.score == pytest.approx(a.score, abs=1e-5)
        assert b.stranger_rate == pytest.approx(a.stranger_rate, abs=1e-4)


def test_an_empty_gallery_says_how_to_fill_it() -> None:
    with pytest.raises(VisionEdgeError, match="no products") as caught:
        classifier(points(1, 0))
    assert "vision-edge register" in str(caught.value)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_refused_by_value(rate: float) -> None:
    with pytest.raises(VisionEdgeError, match=f"got {rate}"):
        classifier(points(1, 3), false_accept_rate=rate)


@pytest.mark.parametrize("shape", [(2, D), (4, D), (3, D + 1), (3,)])
def test_products_that_do_not_fit_their_labels_are_refused(shape: tuple[int, ...]) -> None:
    cohort = Cohort(points(99, 5), from_station=False)
    with pytest.raises(VisionEdgeError, match="3 labels need prototypes") as caught:
        PrototypeClassifier(
            ["a", "b", "c"], np.zeros(shape, np.float32), np.zeros(D, np.float32), cohort
        )
    assert str(shape) in str(caught.value)


def test_generated_scenes_are_taken_off_no_score() -> None:
    products, impostors = points(3, 4), points(99, 50)
    queries = points(5, 6)

    def rates(photographs: bool) -> list[float | None]:
        cohort = Cohort(impostors, from_station=False, photographs=photographs)
        classifier = PrototypeClassifier(list("abcd"), products, impostors.mean(axis=0), cohort)
        return [decision.stranger_rate for decision in classifier.classify(queries)]

    nobody = Cohort(impostors[:0], from_station=False)
    plain = PrototypeClassifier(list("abcd"), products, impostors.mean(axis=0), nobody)
    assert rates(False) == [decision.stranger_rate for decision in plain.classify(queries)]
    assert rates(False) != rates(True)
