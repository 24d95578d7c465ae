"""Carrying catalogue pictures over to a station's own: laws of the shift."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision_edge.runtime.recognition.domains import shift_between
from vision_edge.runtime.recognition.product_scores import centred_cosine

DIM = 24


def domains(seed: int, products: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    catalogue = rng.normal(0, 1, (products, DIM)) + rng.normal(0, 1, DIM)
    own = rng.normal(0, 1, (frames, DIM)) + rng.normal(0, 1, DIM)
    return catalogue.astype(np.float32), own.astype(np.float32)


@given(seed=st.integers(0, 999), products=st.integers(1, 40), frames=st.integers(1, 100))
def test_it_goes_towards_the_stations_own_and_never_beyond(
    seed: int, products: int, frames: int
) -> None:
    catalogue, own = domains(seed, products, frames)
    between = own.mean(axis=0) - catalogue.mean(axis=0)
    shift = shift_between(catalogue, own)
    share = shift @ between / (between @ between)
    assert 0 < share < 1
    assert np.allclose(shift, share * between, atol=1e-4)
    more = shift_between(np.repeat(catalogue, 2, axis=0), np.repeat(own, 2, axis=0))
    assert np.linalg.norm(more) > np.linalg.norm(shift)  # who knows more goes further


@given(seed=st.integers(0, 999))
def test_nothing_is_carried_where_nothing_is_known(seed: int) -> None:
    catalogue, own = domains(seed, 5, 5)
    none = np.zeros((0, DIM), np.float32)
    for one, other in ((catalogue, none), (none, own), (none, none)):
        assert np.array_equal(shift_between(one, other), np.zeros(DIM, np.float32))


@given(seed=st.integers(0, 999))
def test_two_kinds_of_pictures_that_differ_by_an_offset_are_told_apart_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    products = rng.normal(0, 1, (16, DIM)).astype(np.float32)
    offset = (3 * rng.normal(0, 1, DIM)).astype(np.float32)
    queries = (products + 0.1 * rng.normal(0, 1, products.shape) - offset).astype(np.float32)
    carried = products + shift_between(products, queries)
    nearest = centred_cosine(queries, carried, carried.mean(axis=0)).argmax(axis=1)
    before = centred_cosine(queries, products, products.mean(axis=0)).argmax(axis=1)
    truth = np.arange(16)
    assert (nearest == truth).mean() > (before == truth).mean()
