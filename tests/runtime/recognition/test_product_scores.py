"""Scores by several snapshots: the formula, and products of one and of ten as equals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition import product_scores as module
from vision_edge.runtime.recognition.product_scores import (
    MEAN_GAIN,
    NEAREST_SHARE,
    ProductScores,
    centred_cosine,
)

D = 48
ORIGIN = np.zeros(D, np.float32)


def pictures(seed: int, classes: int, each: int) -> Any:
    rng = np.random.default_rng(seed)
    kinds = 0.5 * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    return (kinds + 0.8 * rng.standard_normal((classes, each, D))).astype(np.float32)


def naive(snapshots: Any, queries: Any, centre: Any) -> Any:
    columns = []
    for rows in snapshots:
        mean = centred_cosine(queries, rows.mean(axis=0, keepdims=True), centre)[:, 0]
        nearest = centred_cosine(queries, rows, centre).max(axis=1)
        mixed = (1 - NEAREST_SHARE) * mean + NEAREST_SHARE * nearest
        columns.append(mixed - MEAN_GAIN * (1 - 1 / len(rows)))
    return np.stack(columns, axis=1)


def uneven(seed: int = 0, classes: int = 7) -> list[Any]:
    return [rows[: 1 + k % 4] for k, rows in enumerate(pictures(seed, classes, 4))]


def test_a_score_is_the_mean_and_the_nearest_snapshot_less_what_means_gain() -> None:
    snapshots, queries = uneven(), pictures(1, 5, 2).reshape(-1, D)
    products = ProductScores(snapshots, ORIGIN)
    got = products.of(products.units(queries))
    assert got.dtype == np.float32
    assert np.allclose(got, naive(snapshots, queries, products.centre), atol=1e-5)


def test_with_one_snapshot_each_it_is_the_centred_cosine() -> None:
    snapshots, queries = pictures(0, 6, 1), pictures(1, 5, 1)[:, 0]
    products = ProductScores(list(snapshots), ORIGIN)
    expected = centred_cosine(queries, snapshots[:, 0], products.centre)
    assert np.array_equal(products.of(products.units(queries)), expected)


def test_a_shortlist_finds_the_same_winners(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots, queries = uneven(0, 40), pictures(0, 40, 4)[:, 3]
    products = ProductScores(snapshots, ORIGIN)
    whole = products.of(products.units(queries))
    monkeypatch.setattr(module, "SHORTLIST", 8)
    short = products.of(products.units(queries))
    assert np.array_equal(whole.argmax(axis=1), short.argmax(axis=1))
    assert np.allclose(whole.max(axis=1), short.max(axis=1), atol=1e-6)


def test_the_nearest_snapshots_product_is_found_among_all_and_among_very_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshots = uneven()
    products = ProductScores(snapshots, ORIGIN)
    shown = products.units(np.stack([rows[-1] for rows in snapshots]))
    best = np.arange(len(snapshots))
    for most in (4096, 2):
        monkeypatch.setattr(module, "MOST_EACH", most)
        holders, likeness = products.nearest_snapshot(shown, best)
        assert np.array_equal(holders, best)
        assert np.allclose(likeness, 1.0, atol=1e-5)


def test_strangers_reach_as_much_with_a_product_of_one_snapshot_as_of_ten() -> None:
    one, ten = [], []
    for seed in range(40):
        every = pictures(seed, 40, 10)
        snapshots = [rows[:1] if k % 2 else rows for k, rows in enumerate(every[:8])]
        products = ProductScores(snapshots, ORIGIN)
        scores = products.of(products.units(every[8:, 0]))
        one.append(scores[:, 1::2].mean())
        ten.append(scores[:, ::2].mean())
    assert abs(np.mean(one) - np.mean(ten)) < 0.05
