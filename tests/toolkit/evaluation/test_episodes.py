import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toolkit import refusal

from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.data.dataset import Dataset
from vision_edge.toolkit.evaluation.episodes import (
    METRICS,
    EpisodeSettings,
    check_enough,
    draw_episodes,
    episode_accuracy,
)


def _dataset(counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"c{index}" for index in range(len(counts)))
    return Dataset("made up", Path("x"), names, ("",) * len(labels), labels)


def _clusters(data: Dataset, spread: float, dim: int = 8, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(data.classes), dim))
    noise = rng.normal(size=(len(data), dim)) * spread
    return (centres[data.labels] + noise + 5.0).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(5, 9), min_size=3, max_size=7),
    way=st.integers(2, 3),
    shot=st.integers(1, 2),
    query=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_an_episode_is_way_classes_with_distinct_images(
    counts: list[int], way: int, shot: int, query: int, seed: int
) -> None:
    data = _dataset(counts)
    drawn = list(draw_episodes(data, EpisodeSettings(way, shot, query, 4, seed)))
    assert len(drawn) == 4
    for episode in drawn:
        assert (episode.support.shape, episode.query.shape) == ((way, shot), (way, query))
        rows = np.concatenate([episode.support, episode.query], axis=1)
        assert len(np.unique(rows)) == rows.size, "an image is support and query, or twice"
        labels = data.labels[rows]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == way


def test_episodes_depend_on_the_seed_alone() -> None:
    data, wanted = _dataset([6] * 8), EpisodeSettings(4, 1, 2, 20, seed=3)
    first, second = list(draw_episodes(data, wanted)), list(draw_episodes(data, wanted))
    other = list(draw_episodes(data, EpisodeSettings(4, 1, 2, 20, seed=4)))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.support, two.support)
        np.testing.assert_array_equal(one.query, two.query)
    assert any(not np.array_equal(o.support, f.support) for o, f in zip(other, first, strict=True))


def test_all_classes_and_images_get_their_turn() -> None:
    data = _dataset([5] * 6)
    seen = np.zeros(len(data), int)
    for episode in draw_episodes(data, EpisodeSettings(3, 1, 1, 400)):
        seen[episode.support.ravel()] += 1
    assert seen.min() > 0.5 * seen.mean()
    assert seen.max() < 1.6 * seen.mean()


def _naive_accuracy(embeddings: Any, data: Dataset, wanted: EpisodeSettings, metric: str) -> Any:
    rates = []
    for episode in draw_episodes(data, wanted):
        prototypes = [embeddings[rows].mean(axis=0) for rows in episode.support]
        centre = np.mean(prototypes, axis=0)
        right = 0
        for way, rows in enumerate(episode.query):
            for row in rows:
                query = embeddings[row]
                if metric == "euclidean":
                    scores = [-np.linalg.norm(query - p) for p in prototypes]
                else:
                    scores = [
                        np.dot(query - centre, p - centre)
                        / (np.linalg.norm(query - centre) * np.linalg.norm(p - centre))
                        for p in prototypes
                    ]
                right += int(np.argmax(scores) == way)
        rates.append(right / episode.query.size)
    error = np.std(rates, ddof=1) / math.sqrt(len(rates))
    return 100 * np.mean(rates), 100 * 1.96 * error


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("way", "shot"), [(2, 1), (4, 3)])
def test_accuracy_and_interval_are_those_of_the_definition(
    metric: str, way: int, shot: int
) -> None:
    data = _dataset([9, 8, 9, 7, 10])
    embeddings = _clusters(data, spread=1.0)
    wanted = EpisodeSettings(way, shot, 4, 40, seed=1)
    mean, ci95 = _naive_accuracy(embeddings, data, wanted, metric)
    got = episode_accuracy(embeddings, data, wanted, metric)
    assert 40 < mean < 99
    assert got.mean == pytest.approx(mean, abs=1e-9)
    assert got.ci95 == pytest.approx(ci95, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_clear_classes_are_always_right_and_noise_is_chance(metric: str) -> None:
    data, wanted = _dataset([20] * 6), EpisodeSettings(5, 1, 15, 100)
    clear = episode_accuracy(_clusters(data, spread=1e-3), data, wanted, metric)
    assert (clear.mean, clear.ci95) == (100.0, 0.0)
    noise = np.random.default_rng(0).normal(size=(len(data), 8)).astype(np.float32)
    assert episode_accuracy(noise, data, wanted, metric).mean == pytest.approx(20.0, abs=2.0)


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"way": 1}, "way"),
        ({"shot": 0}, "shot"),
        ({"query": 0}, "query"),
        ({"episodes": 1}, "episodes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings_: dict[str, int], word: str) -> None:
    with refusal(DataError, word):
        EpisodeSettings(**settings_)


def test_too_few_classes_are_refused() -> None:
    with refusal(DataError, "made up", "4 class", "5-way", "--way 4"):
        check_enough(_dataset([20] * 4), EpisodeSettings(way=5))


def test_a_class_with_too_few_images_is_named() -> None:
    data = _dataset([20, 20, 15, 20, 20])
    with refusal(DataError, "made up", "'c2'", "15 image", "need 16"):
        check_enough(data, EpisodeSettings(way=5, shot=1, query=15))
    check_enough(data, EpisodeSettings(way=5, shot=1, query=14))
    with refusal(DataError, "'c2'"):
        next(draw_episodes(data, EpisodeSettings()))
