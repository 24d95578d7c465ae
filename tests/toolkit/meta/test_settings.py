"""Settings of meta-learning."""

import json
import math
from typing import Any

import pytest
from support.meta import FEW
from support.toolkit import random_pixels, refusal

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.meta.settings import MetaSettings


def test_the_rate_rises_in_a_quarter_of_the_cycle_and_falls_to_zero() -> None:
    settings = MetaSettings(lr=1e-3, cycle=100)
    assert settings.rate(0) == pytest.approx(1e-5)
    assert settings.rate(10) == pytest.approx(1e-5 + (1e-3 - 1e-5) * 10 / 25)
    assert settings.rate(25) == pytest.approx(1e-3)
    assert settings.rate(62) + settings.rate(63) == pytest.approx(1e-3), "half way down"
    assert settings.rate(50) == pytest.approx(1e-3 * (1 + math.cos(math.pi / 3)) / 2)
    assert 0 < settings.rate(99) < 1e-6
    rates = [settings.rate(step) for step in range(100)]
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates == [settings.rate(step) for step in range(300, 400)]


@pytest.mark.parametrize("cycle", [1, 2, 3, 7])
def test_short_cycles_have_rates_too(cycle: int) -> None:
    settings = MetaSettings(lr=1e-3, cycle=cycle)
    assert all(0 <= settings.rate(step) <= 1e-3 for step in range(20))
    assert settings.rate(0) == pytest.approx(1e-5)
    assert MetaSettings(lr=1e-6).rate(0) == pytest.approx(1e-6), "never above the highest"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": 0}, ("tasks", "0")),
        ({"accumulate": 0}, ("accumulate",)),
        ({"cycle": -3}, ("cycle", "-3")),
        ({"evaluate_every": 0}, ("evaluate_every",)),
        ({"evaluate_tasks": 0}, ("evaluate_tasks",)),
        ({"steps": -1}, ("steps", "-1")),
        ({"metric": "manhattan"}, ("manhattan", "euclidean")),
        ({"sparsity": 1.0}, ("sparsity", "1.0")),
        ({"interpolation": 1.5}, ("interpolation", "1.5")),
        ({"held_out": math.nan}, ("held_out", "nan")),
        ({"lr": -1e-3}, ("lr", "-0.001")),
        ({"temperature": 0.0}, ("temperature", "0.0")),
        ({"pull": math.inf}, ("pull", "inf")),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with refusal(VisionEdgeError, *words):
        MetaSettings(**change)


def test_settings_are_json() -> None:
    assert json.loads(json.dumps(FEW.document())) == FEW.document()
    assert random_pixels(1).shape == (1, 3, 32, 32)
