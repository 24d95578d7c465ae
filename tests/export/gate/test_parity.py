import math

import numpy as np
import pytest
from support.toolkit import refusal

from vision_edge.export.gate.parity import compare
from vision_edge.runtime.errors import ExportError


def test_figures_are_those_of_the_cosines() -> None:
    rng = np.random.default_rng(0)
    left = rng.normal(size=(6, 9)).astype(np.float32)
    right = left + rng.normal(size=(6, 9)).astype(np.float32) * 0.3
    cosines = [
        np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
        for a, b in zip(left.astype(float), right.astype(float), strict=True)
    ]
    parity = compare(left, right)
    assert parity.images == 6
    assert parity.min_cosine == pytest.approx(min(cosines), abs=1e-12)
    assert parity.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-12)
    assert parity.worst == int(np.argmin(cosines))


def test_the_same_is_one_and_the_opposite_minus_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert compare(vectors, vectors).min_cosine == pytest.approx(1.0, abs=1e-12)
    assert compare(vectors, -vectors).mean_cosine == pytest.approx(-1.0, abs=1e-12)


def test_zeros_agree_with_nothing() -> None:
    assert compare(np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)).min_cosine == 0.0


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((0, 3), (0, 3))])
def test_what_cannot_be_compared_is_refused(left: tuple[int, int], right: tuple[int, int]) -> None:
    with pytest.raises(ExportError, match="cannot compare") as caught:
        compare(np.ones(left, np.float32), np.ones(right, np.float32))
    assert str(left) in str(caught.value)
    assert str(right) in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_are_refused(value: float, side: int) -> None:
    sides = [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)]
    sides[side][1, 2] = value
    with refusal(ExportError, "not finite"):
        compare(*sides)
