"""The merging methods that the league compares, on cases whose answer is known."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from support.paths import ROOT
from support.toolkit import random_low_rank
from torch import Tensor

from vision_edge.export.model.merge import LowRank

OUT, WIDTH = 12, 10
NAMES = (
    "subspace (ours)",
    "mean of products",
    "LoRAs Avg",
    "TIES",
    "KnOTS-TIES",
    "TSV-M",
    "Iso-C",
    "Iso-CTS",
    "Core Space (TIES)",
    "Core Space (Iso-C)",
    "Compress then Merge",
    "own covariance",
    "ACE",
)
DEPENDS_ON_FACTORS = {"LoRAs Avg", "Core Space (TIES)"}
Products = list[LowRank]


@pytest.fixture(scope="module")
def methods() -> Iterator[ModuleType]:
    """The benchmarks' module, which is no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("merging_methods")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        sys.modules.pop("merging_methods", None)


def _products(count: int = 4, rank: int = 2) -> Products:
    return [random_low_rank((OUT, WIDTH), rank, seed) for seed in range(count)]


def _flat(seed: int, rank: int = 2) -> LowRank:
    """An update whose singular values are equal."""
    update = random_low_rank((OUT, WIDTH), rank, seed)
    return LowRank(torch.linalg.qr(update.A.T)[0].T, torch.linalg.qr(update.B)[0])


def _turned(update: LowRank, seed: int) -> LowRank:
    """The same product of other factors."""
    mix = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)) + 2 * torch.eye(2)
    return LowRank(torch.linalg.inv(mix) @ update.A, update.B @ mix)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float((one * other).sum() / (one.norm() * other.norm()))


def _same_direction(one: Tensor, other: Tensor) -> None:
    assert _cosine(one, other) == pytest.approx(1.0, abs=2e-4)


def test_these_are_all(methods: ModuleType) -> None:
    assert tuple(methods.METHODS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_adapters_does_not_count(methods: ModuleType, name: str) -> None:
    method, products = methods.METHODS[name], _products()
    torch.testing.assert_close(method(products), method(products[::-1]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - DEPENDS_ON_FACTORS))
def test_how_a_product_is_factored_does_not_count(methods: ModuleType, name: str) -> None:
    method, products = methods.METHODS[name], _products()
    other = [_turned(update, seed) for seed, update in enumerate(products)]
    torch.testing.assert_close(method(other), method(products), rtol=1e-3, atol=1e-5)


def test_loras_avg_loses_what_adapters_say(methods: ModuleType) -> None:
    products = _products()
    other = [_turned(update, seed) for seed, update in enumerate(products)]
    assert _cosine(methods.loras_avg(products), methods.loras_avg(other)) < 0.9


EXACT = sorted(set(NAMES) - {"TIES", "KnOTS-TIES", "Core Space (TIES)", "Compress then Merge"})


@pytest.mark.parametrize("name", sorted(set(EXACT) - {"ACE"}))
def test_of_equal_adapters_it_is_that_adapter(methods: ModuleType, name: str) -> None:
    one = _flat(0)
    _same_direction(methods.METHODS[name]([one, one, one]), one.product())


def test_flat_methods_make_the_spectrum_flat(methods: ModuleType) -> None:
    products = _products()
    for method in (methods.iso_c, methods.core_iso):
        values = torch.linalg.svdvals(method(products))
        values = values[values > 1e-4 * values[0]]
        torch.testing.assert_close(values, values.mean().expand_as(values), rtol=1e-3, atol=1e-6)


def test_iso_cts_of_apart_adapters_is_flat(methods: ModuleType) -> None:
    eye = torch.eye(OUT)
    sizes = torch.tensor([1.0, 2.0])[:, None]
    parts = [slice(4 * i, 4 * i + 2) for i in range(2)]
    products = [LowRank(sizes * eye[part, :WIDTH], eye[:, part]) for part in parts]
    values = torch.linalg.svdvals(methods.iso_cts(products))
    torch.testing.assert_close(values[:4], values[0].expand(4), rtol=1e-4, atol=1e-6)
    assert float(values[4:].abs().max()) < 1e-5


def test_iso_c_keeps_the_directions_of_the_sum(methods: ModuleType) -> None:
    products = _products()
    U, _, Vh = torch.linalg.svd(methods.mean_of_products(products), full_matrices=False)
    core = U.T @ methods.iso_c(products) @ Vh.T
    torch.testing.assert_close(core, core.diagonal().diag(), rtol=1e-3, atol=1e-4)


def test_what_does_not_overlap_is_added_by_tsv(methods: ModuleType) -> None:
    eye = torch.eye(OUT)
    apart = [LowRank(eye[2 * i : 2 * i + 2, :WIDTH], eye[:, 2 * i : 2 * i + 2]) for i in range(4)]
    torch.testing.assert_close(methods.tsv(apart), sum(u.product() for u in apart))


def test_tsv_of_overlapping_adapters_has_their_singular_values(methods: ModuleType) -> None:
    products = _products()
    own = torch.cat([torch.linalg.svdvals(u.product())[:2] for u in products])
    merged = torch.linalg.svdvals(methods.tsv(products))[: len(own)]
    torch.testing.assert_close(merged, own.sort(descending=True).values, rtol=1e-3, atol=1e-4)


def test_ties_trims_elects_and_averages(methods: ModuleType) -> None:
    updates = torch.tensor([[4.0, -3.0, 0.1, 2.0], [2.0, 5.0, 0.2, -0.1], [-1.0, 4.0, 0.3, 0.2]])
    expected = torch.tensor([3.0, 4.5, 0.0, 0.0])  # keep 2 of 4: (4, -3), (2, 5), (-1, 4)
    torch.testing.assert_close(methods.ties(updates, 0.5), expected)


def test_knots_without_trim_and_conflict_is_the_mean(methods: ModuleType) -> None:
    one = _flat(0)
    products = [one, LowRank(one.A, 3 * one.B)]
    _same_direction(methods.knots(products, keep=1.0), one.product())


def test_core_space_loses_nothing(methods: ModuleType) -> None:
    products = _products()
    left, middle, right = methods.cores(products)
    torch.testing.assert_close(left @ middle @ right, methods.dense(products), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        methods.core_iso(products), methods.iso_c(products), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_compress_then_merge_keeps_its_rank(methods: ModuleType, rank: int) -> None:
    merged = methods.compress_then_merge(_products(), rank=rank)
    assert int(torch.linalg.matrix_rank(merged, rtol=1e-4)) <= rank


def test_compress_then_merge_finds_a_subspace_that_all_share(methods: ModuleType) -> None:
    base = random_low_rank((OUT, WIDTH), 3, 7)
    mixes = [torch.randn(3, 3, generator=torch.Generator().manual_seed(s)) for s in range(5)]
    products = [LowRank(mix @ base.A, base.B) for mix in mixes]
    _, middle, _ = methods.cores(products)
    U, V = methods._tucker(middle, 3)
    torch.testing.assert_close(U @ (U.T @ middle @ V) @ V.T, middle, rtol=1e-3, atol=1e-4)


def _descended(loss: Callable[[Tensor], Tensor]) -> Tensor:
    W = torch.zeros(OUT, WIDTH, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([W], max_iter=300, tolerance_grad=1e-12, tolerance_change=1e-14)

    def step() -> float:
        search.zero_grad()
        value = loss(W)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    for _ in range(5):
        search.step(step)
    return W.detach().float()


def test_own_covariance_is_the_minimum_of_its_objective(methods: ModuleType) -> None:
    products, ridge = _products(), 0.05
    D = methods.dense(products).double()

    def loss(W: Tensor) -> Tensor:
        parts = ((W - D) @ D.mT).square().sum((1, 2)) / D.square().sum((1, 2))
        return parts.sum() + ridge * len(D) / WIDTH * W.square().sum()

    found = methods.own_covariance(products, ridge)
    torch.testing.assert_close(found, _descended(loss), rtol=1e-3, atol=1e-4)


def test_ace_refines_only_where_adapters_differ_much(methods: ModuleType) -> None:
    near = _products()
    # trace near 1, where its logarithm is near 0 and varies much against its mean
    sizes = [size / float(u.product().norm()) for u, size in zip(near, (0.2, 1, 1, 5), strict=True)]
    far = [LowRank(u.A, u.B * size) for u, size in zip(near, sizes, strict=True)]
    one = methods.ace(near, part=0.1)
    torch.testing.assert_close(one, methods.ace(near, part=0.9))
    assert _cosine(methods.ace(far, part=0.1), methods.ace(far, part=0.9)) < 0.999
