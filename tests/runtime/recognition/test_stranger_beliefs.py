"""What is believed of strangers before any has come, and which products tell it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.snapshot_scores import OwnLikeness, own_likeness
from vision_edge.runtime.recognition.stranger_beliefs import (
    OWN_OFFSET,
    OWN_SLOPE,
    PRIOR_DRAWS,
    PRIOR_MEAN,
    PRIOR_SPREAD,
    Belief,
    Reached,
    by_own_pictures,
    weighed,
)
from vision_edge.runtime.recognition.strangers import Cohort, Strangers
from vision_edge.runtime.recognition.tails import student_tail

D = 48
ORIGIN = np.zeros(D, np.float32)
NONE = np.zeros((0, D), np.float32)
NOBODY = Cohort(NONE, from_station=False)
AT = np.linspace(-0.2, 1.0, 25)


def pictures(seed: int, classes: int, each: int, spread: float) -> Any:
    """Return pictures of classes of one domain, float32 (classes, each, D)."""
    rng = np.random.default_rng(seed)
    kinds = 0.6 * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    return (kinds + spread * rng.standard_normal((classes, each, D))).astype(np.float32)


def likeness(snapshots: list[Any], impostors: Any = NONE) -> OwnLikeness:
    return own_likeness(ProductScores(snapshots, ORIGIN), snapshots, impostors)


def own(mean: float, products: int) -> OwnLikeness:
    return OwnLikeness(np.full(products, mean), mean, products)


def test_likeness_hardly_depends_on_how_many_snapshots_tell_it() -> None:
    every = pictures(0, 40, 10, 0.8)
    means = [likeness(list(every[:, :count])).mean for count in (2, 3, 5, 10)]
    assert max(means) - min(means) < 0.05
    assert likeness(list(pictures(0, 40, 3, 0.4))).mean > max(means) + 0.1


def test_one_snapshot_or_the_same_picture_again_tells_nothing() -> None:
    every = pictures(1, 4, 3, 0.8)
    assert likeness(list(every[:, :1])).products == 0
    twice = [np.repeat(rows[:1], 3, axis=0) for rows in every]
    assert likeness(twice).products == 0
    mixed = likeness([*every[:3], twice[3]])
    assert mixed.products == 3
    assert mixed.mean == pytest.approx(likeness(list(every)).mean, abs=0.1)


def test_a_picture_registered_twice_does_not_make_its_station_strict() -> None:
    every = pictures(2, 5, 12, 1.0)
    named = []
    for again in (1, 3):
        shots = [np.repeat(rows[:1], again, axis=0) for rows in every]
        got = PrototypeClassifier(list("abcde"), shots, ORIGIN, NOBODY)
        known = [d.known for rows in every for d in got.classify(rows[2:])]
        named.append(float(np.mean(known)))
    assert named[1] > named[0] - 0.1


def test_what_resembling_impostors_takes_off_scores_it_takes_off_the_belief() -> None:
    every = list(pictures(3, 4, 3, 0.8))
    near = likeness(every, np.concatenate(every))
    assert near.shift > 0.1
    assert likeness(every).shift == 0.0
    assert by_own_pictures(near).mean == pytest.approx(
        by_own_pictures(likeness(every)).mean - near.shift
    )


def test_more_products_make_it_surer() -> None:
    spreads = [by_own_pictures(own(0.5, count)).spread for count in (1, 2, 5, 16)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] < PRIOR_SPREAD
    assert by_own_pictures(own(0.5, 3)).mean == pytest.approx(OWN_OFFSET + OWN_SLOPE * 0.5)


def test_a_domain_on_the_line_is_believed_and_one_far_from_it_is_not() -> None:
    line = by_own_pictures(own(0.7, 8))
    on = weighed(own(0.7, 8), Reached(line.mean, 0.01, 8), 0.1)
    off = weighed(own(0.7, 8), Reached(line.mean - 0.35, 0.005, 8), 0.1)
    assert on.mean == pytest.approx(line.mean, abs=0.02)
    assert on.spread < 0.1
    assert off.spread > 0.25
    assert off.mean == pytest.approx(PRIOR_MEAN + 0.1, abs=0.02)


def test_few_of_the_products_tell_little() -> None:
    reached = Reached(by_own_pictures(own(0.7, 1)).mean, 0.01, 8)
    spreads = [weighed(own(0.7, told), reached, 0.1).spread for told in (0, 1, 4, 8)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[1] > 0.28


def test_a_small_rate_is_asked_of_the_explanation_with_the_longer_tail() -> None:
    own_pictures = own(0.7, 3)
    reached = Reached(by_own_pictures(own_pictures).mean + 0.2, 0.01, 3)
    both = weighed(own_pictures, reached, 0.1)
    assert 0.1 < both.share < 0.9
    line, flat = both.explains(reached, few=1.4)
    assert line.share + flat.share == pytest.approx(1.0)
    far = np.array([line.mean + 4.0 * line.width])
    assert line.tail(far) < 0.001
    mixture = Strangers.explained((line, flat), both.draws).rate(far)
    assert mixture == pytest.approx(line.tail(far) + flat.tail(far))
    assert mixture > 10.0 * line.tail(far)


def test_one_snapshot_a_product_leaves_one_explanation() -> None:
    reached = Reached(0.3, 0.01, 5)
    both = weighed(own(0.0, 0), reached, 0.1)
    line, flat = both.explains(reached, few=3.5)
    assert (line.share, flat.share, both.draws) == (0.0, 1.0, PRIOR_DRAWS)
    together = Strangers.explained((line, flat), both.draws)
    assert (together.mean, together.width, together.unknown) == pytest.approx(
        (flat.mean, flat.width, flat.unknown)
    )
    assert together.rate(AT) == pytest.approx(student_tail((AT - flat.mean) / flat.width))


def test_what_is_reached_moves_the_mean_the_more_the_less_is_known() -> None:
    reached = Reached(0.2, 0.01, 5)
    sure, unsure = (Belief(0.5, spread, 5.0, 2.0).moved(reached)[0] for spread in (0.03, 0.3))
    assert 0.2 < unsure < 0.25
    assert 0.4 < sure < 0.5
    assert Reached(0.2, 0.01, 2).known == 0
