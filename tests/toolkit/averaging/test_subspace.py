import math
from pathlib import Path

import pytest
import torch
from support.toolkit import DIM, adapter_in, qv_updates, random_low_rank, refusal

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.projections import projections
from vision_edge.toolkit.averaging.average import AverageSettings, average_hub
from vision_edge.toolkit.averaging.factors import factor_average
from vision_edge.toolkit.backbones.backbone import Backbone

MODULE = "blocks.0.attn.proj"
FULL = AverageSettings(rank=DIM)


def _hub(folder: Path, backbone: Backbone, updates: list[LowRank]) -> Path:
    for index, update in enumerate(updates):
        adapter_in(folder / f"a{index}", backbone, {MODULE: update})
    return folder


def _sketches(count: int, noise: float = 0.0, rank: int = 4) -> tuple[torch.Tensor, list[LowRank]]:
    """Adapters that all see one matrix, each in its own random directions, with noise."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(DIM, DIM, generator=generator) / 8
    updates = []
    for _ in range(count):
        A = torch.randn(rank, DIM, generator=generator)
        basis = torch.linalg.qr(A.T)[0]
        seen = truth @ basis + noise * torch.randn(DIM, rank, generator=generator)
        updates.append(LowRank(basis.T.contiguous(), seen))
    return truth, updates


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one * other).sum() / (one.norm() * other.norm()))


def test_it_is_the_minimum_of_its_objective(backbone: Backbone, tmp_path: Path) -> None:
    _, updates = _sketches(6, noise=0.3)
    hub = _hub(tmp_path / "hub", backbone, updates)
    got = average_hub(hub, backbone, FULL).updates[MODULE].product()
    W = torch.zeros(DIM, DIM, requires_grad=True)
    for _ in range(200):
        loss = 0.5 * W.square().sum()
        for update in updates:
            projector = torch.linalg.pinv(update.A) @ update.A
            loss = loss + ((W - update.product()) @ projector).square().sum()
        (gradient,) = torch.autograd.grad(loss, W)
        with torch.no_grad():
            W -= 0.1 * gradient
    assert _cosine(got, W.detach()) == pytest.approx(1.0, abs=1e-4)


def test_it_finds_what_adapters_see_in_common_better_than_the_mean(
    backbone: Backbone, tmp_path: Path
) -> None:
    truth, updates = _sketches(24, noise=0.05)
    hub = _hub(tmp_path / "hub", backbone, updates)
    subspace = average_hub(hub, backbone, FULL).updates[MODULE].product()
    mean = (
        average_hub(hub, backbone, AverageSettings(rank=DIM, ridge=None)).updates[MODULE].product()
    )
    assert _cosine(subspace, truth) > _cosine(mean, truth) + 0.05


def test_a_large_ridge_gives_the_direction_of_the_mean(backbone: Backbone, tmp_path: Path) -> None:
    _, updates = _sketches(5)
    hub = _hub(tmp_path / "hub", backbone, updates)
    wide = AverageSettings(rank=DIM, ridge=1e4)
    got = average_hub(hub, backbone, wide).updates[MODULE].product()
    assert _cosine(got, sum(u.product() for u in updates)) > 0.9999  # type: ignore[arg-type]


def test_the_rank_cuts_each_projection(backbone: Backbone, tmp_path: Path) -> None:
    for index in range(4):
        adapter_in(tmp_path / "hub" / f"a{index}", backbone, qv_updates(seed=index))
    result = average_hub(tmp_path / "hub", backbone, AverageSettings(rank=3))
    assert {u.rank for _, u in projections(result.updates)} == {3}
    assert 0 < result.report["energy_kept"] < 1
    key = result.updates["blocks.0.attn.qkv"].product()[DIM : 2 * DIM]
    assert not key.any(), "keys were not tuned"


@pytest.mark.parametrize("bad", [{"rank": 0}, {"ridge": 0.0}, {"scale": math.nan}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with refusal(VisionEdgeError, *bad):
        AverageSettings(**bad)  # type: ignore[arg-type]


# --- the paper's baseline --------------------------------------------------------------------


def test_factors_are_averaged_apart(backbone: Backbone, tmp_path: Path) -> None:
    updates = [random_low_rank((DIM, DIM), 2, seed) for seed in range(3)]
    hub = _hub(tmp_path / "hub", backbone, updates)
    A = sum(u.A for u in updates) / 3  # type: ignore[operator]
    B = sum(u.B for u in updates) / 3  # type: ignore[operator]
    torch.testing.assert_close(factor_average(hub, backbone)[MODULE].product(), B @ A)


def test_factors_of_different_ranks_have_no_average(backbone: Backbone, tmp_path: Path) -> None:
    hub = _hub(tmp_path / "hub", backbone, [random_low_rank((DIM, DIM), r) for r in (2, 3)])
    with refusal(AdapterError, "rank 3", "2"):
        factor_average(hub, backbone)
