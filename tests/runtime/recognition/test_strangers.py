"""The model of strangers: rates that hold, tails that are Student's, and sizes that scale."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition import strangers as open_set
from vision_edge.runtime.recognition.strangers import (
    COHORT_NEAREST,
    COHORT_WEIGHT,
    Cohort,
    Strangers,
    cohort_shift,
    fit_strangers,
    stranger_models,
)

D = 24


def units(seed: int, count: int) -> Any:
    rows = np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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


def test_no_image_of_the_cohort_is_its_own_impostor() -> None:
    cohort = units(2, 30)
    own = cohort_shift(cohort, cohort, own=True)
    assert (own < cohort_shift(cohort, cohort)).all()
    assert not cohort_shift(cohort[:1], cohort[:1], own=True).any()


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("count", [5, 12, 40])
def test_strangers_of_the_products_kind_pass_about_as_often_as_asked(
    count: int, rate: float
) -> None:
    passed = []
    for seed in range(12):
        products, cohort = units(seed, count), units(999, 300)
        strangers = units(seed + 500, 400)
        model = fit_strangers(products, cohort)
        scores = strangers @ products.T
        normalised = scores.max(axis=1) - cohort_shift(strangers, cohort)
        passed.append((model.rate(normalised, scores.argmax(axis=1)) <= rate).mean())
    assert np.mean(passed) < rate * 2.5
    assert count < 40 or np.mean(passed) > rate / 4  # few products know little: rather too strict


def test_the_rate_is_students_and_falls_with_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_set, "FREEDOM", 20.0)
    model = Strangers(0.1, 0.2, np.zeros(1))
    deviations = np.array([-3.0, -1.0, 0.0, 1.0, 1.725, 2.528, 3.552])
    rates = model.rate(0.1 + 0.2 * deviations, np.zeros(7, np.intp))
    expected = [0.99646, 0.83537, 0.5, 0.16463, 0.05, 0.01, 0.001]  # t with 20 degrees of freedom
    assert np.allclose(rates, expected, atol=0.0015)
    assert rates[4] > 1 - NormalDist().cdf(1.725)


def test_a_product_that_others_resemble_asks_for_more() -> None:
    lookalikes = units(1, 2)
    lookalikes[1] = lookalikes[0] + 0.3 * lookalikes[1]
    lookalikes /= np.linalg.norm(lookalikes, axis=1, keepdims=True)
    products = np.concatenate([lookalikes, units(3, 6)])
    offsets = fit_strangers(products, units(2, 50)).offsets
    assert offsets[:2].min() > offsets[2:].max()
    assert offsets.mean() == pytest.approx(0.0, abs=1e-9)


def test_one_product_alone_is_judged_strictly() -> None:
    model = fit_strangers(units(1, 1), units(2, 50))
    assert (model.mean, model.std) == (open_set.LONE_MEAN, open_set.LONE_STD)


@pytest.mark.parametrize(("count", "models"), [(1, 1), (2, 1), (3, 2)])
def test_pictures_of_the_station_speak_alone_for_few_products_and_with_them_for_more(
    count: int, models: int
) -> None:
    assert len(stranger_models(units(1, count), Cohort(units(2, 50), True))) == models
    assert len(stranger_models(units(1, count), Cohort(units(2, 50), False))) == 1
    assert len(stranger_models(units(1, count), Cohort(units(2, 5), True))) == 1


def test_many_products_are_fitted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    products, cohort = units(1, 50), units(2, 30)
    whole = fit_strangers(products, cohort)
    monkeypatch.setattr(open_set, "_CHUNK", 7)
    pieces = fit_strangers(products, cohort)
    assert pieces.mean == pytest.approx(whole.mean)
    assert np.allclose(pieces.offsets, whole.offsets)
