"""What the league's benchmarks measure, on embeddings whose answer is known."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from support.paths import ROOT

from vision_edge.export.gate.episodes import EpisodeSettings
from vision_edge.runtime.arrays import Embeddings

CLASSES, EACH, DIM = 12, 20, 16
NAMES = ("merging_league", "fit_to")
MEMBERS = [np.arange(EACH * c, EACH * (c + 1)) for c in range(CLASSES)]


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[dict[str, ModuleType]]:
    """The benchmarks' modules, which are no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in (*NAMES, "merging_methods", "measured"):
            sys.modules.pop(name, None)


def _embeddings(noise: float) -> Embeddings:
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((CLASSES, DIM)), EACH, axis=0)
    return (centres + noise * rng.standard_normal(centres.shape)).astype(np.float32)


def test_a_gain_is_the_difference_on_the_same_episodes(benchmarks: dict[str, ModuleType]) -> None:
    gain = benchmarks["merging_league"].gain
    clear, vague = _embeddings(0.2), _embeddings(2.0)
    same = gain(vague, vague, MEMBERS, 50)
    assert (same.mean, same.ci95) == (0.0, 0.0)
    better, worse = gain(clear, vague, MEMBERS, 50), gain(vague, clear, MEMBERS, 50)
    assert better.mean > 10 * better.ci95 > 0
    assert worse.mean == pytest.approx(-better.mean)


def test_rejection_is_whole_for_clear_classes_and_half_for_none(
    benchmarks: dict[str, ModuleType],
) -> None:
    rejection, settings = benchmarks["merging_league"].rejection, EpisodeSettings(episodes=60)
    assert rejection(_embeddings(0.05), MEMBERS, settings).mean > 99.5
    nothing = np.random.default_rng(1).standard_normal((CLASSES * EACH, DIM)).astype(np.float32)
    assert rejection(nothing, MEMBERS, settings).mean == pytest.approx(50.0, abs=3.0)


@pytest.mark.parametrize("best", [0.0, 1.0, 2.0])
def test_snapshots_find_a_size_that_is_plainly_best(
    benchmarks: dict[str, ModuleType], best: float
) -> None:
    fit = benchmarks["fit_to"]
    states = {}
    for size in (0.0, 1.0, 2.0):
        vectors = _embeddings(0.2 if size == best else 2.5)
        states[size] = fit.State(vectors, dict(enumerate(vectors)))
    plain, rule, fixed, *gains = fit.compare(states, MEMBERS, 5, 3, 40)
    assert fixed.endswith(f"({best:g})")
    assert float(fixed.split()[0]) == max(float(plain), float(rule), float(fixed.split()[0]))
    for cell in gains[:3]:
        assert cell.endswith(f"({best:g})")
        assert float(cell.split()[0]) >= -0.01
