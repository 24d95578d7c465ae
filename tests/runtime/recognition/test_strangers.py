"""What strangers reach: rates that mean what they say, whoever tells them."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition import stranger_beliefs as beliefs
from vision_edge.runtime.recognition.product_scores import ProductScores
from vision_edge.runtime.recognition.snapshot_scores import (
    COHORT_NEAREST,
    COHORT_WEIGHT,
    cohort_shift,
)
from vision_edge.runtime.recognition.strangers import (
    Cohort,
    Draws,
    Strangers,
    fit_strangers,
)
from vision_edge.runtime.recognition.tails import normal_tail, student_tail

D = 48
ORIGIN = np.zeros(D, np.float32)
NOBODY = Cohort(np.zeros((0, D), np.float32), from_station=False)


def units(seed: int, count: int) -> Any:
    rows = np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(seed: int, classes: int, pictures: int) -> Any:
    """Return pictures of classes that share a domain: float32 (classes, pictures, D)."""
    rng = np.random.default_rng(seed)
    kinds = 0.6 * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    return (kinds + 0.8 * rng.standard_normal((classes, pictures, D))).astype(np.float32)


def share_within(rate: float, count: int, shots: int, frames: int = 0) -> float:
    """Return the share of strangers whose rate is within `rate`, over many draws."""
    passed = []
    for seed in range(60):
        pictures = world(seed, 2 * count + 6 + frames, 6)
        snapshots = list(pictures[:count, :shots])
        strangers = pictures[count : 2 * count + 6].reshape(-1, D)
        cohort = Cohort(pictures[2 * count + 6 :, 0], True) if frames else NOBODY
        model = fit_strangers(snapshots, ORIGIN, cohort)
        products = ProductScores(snapshots, ORIGIN)
        best = products.of(products.units(strangers)).max(axis=1).astype(np.float64)
        passed.append((model.rate(best) <= rate).mean())
    return float(np.mean(passed))


def test_the_shift_is_half_the_mean_likeness_to_the_nearest_impostors() -> None:
    queries, cohort = units(1, 5), units(2, 60)
    likeness = np.sort(queries @ cohort.T, axis=1)[:, -COHORT_NEAREST:]
    assert np.allclose(cohort_shift(queries, cohort), COHORT_WEIGHT * likeness.mean(axis=1))


def test_a_small_cohort_is_used_whole_and_an_empty_one_not() -> None:
    queries, cohort = units(1, 5), units(2, 3)
    assert np.allclose(
        cohort_shift(queries, cohort), COHORT_WEIGHT * (queries @ cohort.T).mean(axis=1)
    )
    assert not cohort_shift(queries, cohort[:0]).any()


def test_only_photographs_of_anything_are_impostors() -> None:
    rows = units(2, 30)
    assert len(Cohort(rows, from_station=False).impostors) == 30
    assert len(Cohort(rows, from_station=True).impostors) == 0
    assert len(Cohort(rows, from_station=False, photographs=False).impostors) == 0


@pytest.mark.parametrize("shots", [1, 3, 5])
@pytest.mark.parametrize("count", [5, 8, 16])
def test_the_stated_rate_means_what_it_says(count: int, shots: int) -> None:
    assert 0.05 / 2 < share_within(0.05, count, shots) < 0.05 * 2
    assert 0.2 / 1.6 < share_within(0.2, count, shots) < 0.2 * 1.6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_products_are_judged_rather_too_strictly(count: int) -> None:
    assert share_within(0.05, count, 1) < 0.05 * 2


@pytest.mark.parametrize("count", [1, 2, 8])
def test_frames_of_the_station_tell_the_rate_where_products_cannot(count: int) -> None:
    assert 0.05 / 1.5 < share_within(0.05, count, 1, frames=60) < 0.05 * 1.5


def test_a_product_among_the_stations_frames_is_found_and_left_out() -> None:
    pictures = world(3, 68, 6)
    snapshots = list(pictures[:8, :2])
    clean = pictures[8:, 0]
    poisoned = np.concatenate([clean, pictures[0, 2:], pictures[1, 2:]])
    products = ProductScores(snapshots, ORIGIN)
    own = products.of(products.units(pictures[0, 2:])).max(axis=1).astype(np.float64)
    rates = [
        fit_strangers(snapshots, ORIGIN, Cohort(frames, True)).rate(own)
        for frames in (clean, poisoned)
    ]
    assert np.abs(rates[0] - rates[1]).max() < 0.03


def test_a_station_of_nothing_but_a_product_is_not_explained_away() -> None:
    pictures = world(3, 20, 40)
    snapshots = list(pictures[:8, :2])
    frames = Cohort(pictures[0, 2:], True)
    products = ProductScores(snapshots, ORIGIN)
    own = products.of(products.units(pictures[0, 2:])).max(axis=1).astype(np.float64)
    assert np.median(fit_strangers(snapshots, ORIGIN, frames).rate(own)) > 0.05


def test_one_product_alone_is_judged_strictly() -> None:
    model = fit_strangers([units(1, 1)], ORIGIN, NOBODY)
    assert (model.mean, model.width, model.draws) == (beliefs.LONE_MEAN, beliefs.LONE_WIDTH, ())


@pytest.mark.parametrize("count", [2, 3, 70])
def test_a_cohort_may_speak_alone(count: int) -> None:
    frames = Cohort(units(5, 40), True)
    snapshots = [units(seed, 1) for seed in range(count)]
    assert len(fit_strangers(snapshots, ORIGIN, frames).draws) == 2
    assert len(fit_strangers(snapshots, ORIGIN, frames, cohort_alone=True).draws) == 1
    few = Cohort(frames.embeddings[:5], True)
    assert len(fit_strangers(snapshots, ORIGIN, few, cohort_alone=True).draws) == 1


def test_all_products_alike_are_no_division_by_zero() -> None:
    same = [units(1, 1)] * 5
    rates = fit_strangers(same, ORIGIN, NOBODY).rate(np.array([0.2, 0.97, 1.0]))
    assert np.isfinite(rates).all()
    assert rates[-1] > 0.2  # every product's picture is as near to the others


def test_very_many_products_are_sampled_to_about_the_same() -> None:
    snapshots = [rows[:1] for rows in world(1, 90, 1)]
    many = fit_strangers(snapshots, ORIGIN, NOBODY)
    few = fit_strangers(snapshots[:64], ORIGIN, NOBODY)
    grid = np.linspace(0.3, 0.9, 7)
    assert np.abs(many.rate(grid) - few.rate(grid)).max() < 0.06


def test_the_rate_falls_with_the_score_from_one_to_zero() -> None:
    draws = Draws(np.array([0.2, 0.5]), np.array([0.5, 0.5]), 5.0, 0.05)
    model = Strangers(0.3, 0.1, 3.0, (draws,))
    rates = model.rate(np.linspace(-4, 4, 200))
    assert (np.diff(rates) <= 1e-12).all()
    assert rates[0] == pytest.approx(1.0, abs=1e-4)
    assert rates[-1] < 1e-6


def test_the_tails_are_the_distributions() -> None:
    at = np.array([-3.0, 0.0, 1.0, 1.440, 1.943, 3.143, 5.208])
    expected = [0.98800, 0.5, 0.17796, 0.1, 0.05, 0.01, 0.001]  # t with 6 degrees of freedom
    assert np.allclose(student_tail(at), expected, atol=1e-4)
    normal = [1 - NormalDist().cdf(z) for z in at]
    assert np.allclose(normal_tail(at), normal, atol=1e-6)
