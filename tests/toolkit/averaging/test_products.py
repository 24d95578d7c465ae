import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toolkit import random_low_rank
from torch import Tensor

from vision_edge.toolkit.averaging.products import ProductSum


def _rebuilt(triple: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    U, S, Vh = triple
    return (U * S) @ Vh


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    ranks=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
)
def test_a_sum_is_the_sum_however_it_is_kept(
    shape: tuple[int, int], ranks: list[int], seed: int
) -> None:
    updates = [random_low_rank(shape, rank, seed + i, size=1.0) for i, rank in enumerate(ranks)]
    total = ProductSum(shape)
    dense = ProductSum(shape, _dense=torch.zeros(shape))
    naive = np.zeros(shape)
    for update in updates:
        total.add(update)
        dense.add(update)
        naive += update.B.double().numpy() @ update.A.double().numpy()
    scale = max(1.0, np.abs(naive).max())
    probe = random_low_rank(shape, 3, seed + 99, size=1.0)
    inner = float((naive * (probe.B.double() @ probe.A.double()).numpy()).sum())
    for kept in (total, dense):
        np.testing.assert_allclose(_rebuilt(kept.svd()), naive, atol=2e-5 * scale)
        assert kept.inner(probe) == pytest.approx(inner, abs=1e-4 * scale * math.prod(shape))
    singular = np.linalg.svd(naive, compute_uv=False)
    got = total.svd()[1].numpy()
    np.testing.assert_allclose(got, singular[: len(got)], atol=5e-5 * max(1.0, singular[0]))
    assert np.all(singular[len(got) :] < 5e-5 * max(1.0, singular[0]))


def test_a_sum_holds_its_factors_or_its_matrix_whichever_is_smaller() -> None:
    total, shape = ProductSum((12, 20)), (12, 20)
    for index in range(20):
        total.add(random_low_rank(shape, 2, index))
        held = sum(t.numel() for t in (*total._A, *total._B))
        held += 0 if total._dense is None else total._dense.numel()
        assert held == min(2 * (index + 1) * sum(shape), math.prod(shape))
