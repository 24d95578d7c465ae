import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    embedding_of,
    qv_updates,
    random_low_rank,
    random_pixels,
    refusal,
    tiny_backbone,
)
from torch import nn

from vision_edge.export.model.merge import LowRank, merge
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.backbones.backbone import state_sha256


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("module", BLOCK_LINEARS)
def test_a_merged_weight_is_w_plus_b_a_and_nothing_else_changes(module: str, block: int) -> None:
    model = tiny_backbone().model
    before = copy.deepcopy(model.state_dict())
    name = f"blocks.{block}.{module}"
    update = random_low_rank(BLOCK_LINEARS[module], 3)
    merge(model, {name: update})
    after = model.state_dict()
    expected = before[f"{name}.weight"].double() + update.B.double() @ update.A.double()
    torch.testing.assert_close(after[f"{name}.weight"].double(), expected, atol=1e-6, rtol=0)
    assert (after[f"{name}.weight"] - before[f"{name}.weight"]).abs().max() > 1e-2
    assert all(torch.equal(after[k], before[k]) for k in before if k != f"{name}.weight")


def test_the_merged_model_computes_the_low_rank_path() -> None:
    class Beside(nn.Module):
        def __init__(self, base: nn.Linear, update: LowRank) -> None:
            super().__init__()
            self.base, self.update = base, update

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) + x @ self.update.A.T @ self.update.B.T

    updates = {
        **qv_updates(3),
        "blocks.1.mlp.fc2": random_low_rank(BLOCK_LINEARS["mlp.fc2"], 2),
    }
    merged, beside = tiny_backbone().model, tiny_backbone().model
    merge(merged, updates)
    for name, update in updates.items():
        parent, _, child = name.rpartition(".")
        owner = beside.get_submodule(parent)
        setattr(owner, child, Beside(getattr(owner, child), update))
    pixels = random_pixels()
    expected = embedding_of(beside, pixels)
    torch.testing.assert_close(embedding_of(merged, pixels), expected, atol=2e-5, rtol=1e-4)


def test_a_weight_stays_the_same_tensor() -> None:
    model = tiny_backbone().model
    weight = model.get_parameter("blocks.0.attn.qkv.weight")
    merge(model, qv_updates())
    assert model.get_parameter("blocks.0.attn.qkv.weight") is weight
    assert not weight.requires_grad


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    rank=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_shape_rank_and_norm_are_those_of_the_product(
    shape: tuple[int, int], rank: int, seed: int
) -> None:
    update = random_low_rank(shape, rank, seed, size=1.0)
    assert (update.shape, update.rank) == (shape, rank)
    exact = update.B.double() @ update.A.double()
    torch.testing.assert_close(update.product().double(), exact, atol=1e-5, rtol=1e-4)
    assert update.squared_norm() == pytest.approx(float(exact.square().sum()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "update", "words"),
    [
        ("blocks.7.attn.qkv", random_low_rank((192, DIM), 2), ["blocks.7.attn.qkv", "no linear"]),
        ("blocks.0.norm1", random_low_rank((DIM, DIM), 2), ["blocks.0.norm1", "no linear"]),
        ("patch_embed.proj", random_low_rank((DIM, DIM), 2), ["patch_embed.proj", "no linear"]),
        ("blocks.1.attn.qkv", random_low_rank((DIM, DIM), 2), ["(64, 64)", "(192, 64)"]),
        (
            "blocks.1.attn.qkv",
            LowRank(torch.full((2, DIM), math.nan), torch.ones(192, 2)),
            ["blocks.1.attn.qkv", "NaN"],
        ),
        (
            "blocks.1.attn.qkv",
            LowRank(torch.full((2, DIM), 1e30), torch.full((192, 2), 1e30)),
            ["blocks.1.attn.qkv", "infinity"],
        ),
    ],
)
def test_one_bad_update_is_named_and_no_weight_changes(
    name: str, update: LowRank, words: list[str]
) -> None:
    model = tiny_backbone().model
    before = state_sha256(model.state_dict())
    good = {"blocks.0.attn.qkv": qv_updates()["blocks.0.attn.qkv"]}
    with refusal(AdapterError, *words):
        merge(model, {**good, name: update})
    assert state_sha256(model.state_dict()) == before


def test_a_sum_that_is_not_w_plus_b_a_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check against float64 sees a product that lost its precision."""
    model = tiny_backbone().model
    before = state_sha256(model.state_dict())
    monkeypatch.setattr(LowRank, "product", lambda self: (self.B.half() @ self.A.half()).float())
    with pytest.raises(AdapterError, match=r"differs from W \+ B A"):
        merge(model, qv_updates())
    assert state_sha256(model.state_dict()) == before
