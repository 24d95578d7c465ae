import numpy as np
import pytest

from vision_edge.toolkit.averaging.comparison import groups_of


def _cosines(sizes: list[int], within: float, between: float) -> np.ndarray:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    cosines = np.where(owner[:, None] == owner, within, between).astype(float)
    np.fill_diagonal(cosines, 1.0)
    noise = np.random.default_rng(0).normal(0, 0.002, cosines.shape)
    return cosines + (noise + noise.T) / 2 * (1 - np.eye(len(owner)))


@pytest.mark.parametrize("within", [0.015, 0.1, 0.5])
def test_two_domains_are_two_groups_and_one_is_one(within: float) -> None:
    assert groups_of(_cosines([7, 5], within, 0.0)) == [list(range(7)), list(range(7, 12))]
    assert groups_of(_cosines([12], within, 0.0)) == [list(range(12))]
    assert groups_of(_cosines([6, 6], within, 0.7 * within)) == [list(range(12))]


def test_adapters_that_are_unlike_all_others_stay_alone() -> None:
    assert groups_of(_cosines([4, 1, 1], 0.2, 0.0)) == [[0, 1, 2, 3], [4], [5]]


def test_one_adapter_is_a_group() -> None:
    assert groups_of(np.ones((1, 1))) == [[0]]
