import copy

import pytest
import torch
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    embedding_of,
    merged_copy,
    qv_updates,
    random_low_rank,
    random_pixels,
    tiny_backbone,
)
from torch import nn

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.meta.meta_lora import MetaLinear, MetaLora, random_updates

OTHERS = {
    f"blocks.1.{linear}": random_low_rank(shape, 3, seed)
    for seed, (linear, shape) in enumerate(BLOCK_LINEARS.items())
    if linear != "attn.qkv"
}
"""Updates of layers that are adapted as a whole."""


def _products(updates: dict[str, LowRank]) -> dict[str, torch.Tensor]:
    return {name: update.product() for name, update in updates.items()}


# --- one layer -------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["q", "k", "v", "qv", "vq", "qkv"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_its_merged_weight(parts: str, bias: bool) -> None:
    base = nn.Linear(DIM, 3 * DIM, bias=bias)
    updates = {part: random_low_rank((DIM, DIM), 2, seed) for seed, part in enumerate(parts)}
    layer, x = MetaLinear(base, updates), torch.randn(2, 5, DIM)
    delta = torch.zeros(3, DIM, DIM)
    for part, update in updates.items():
        delta["qkv".index(part)] = update.B @ update.A
    delta = delta.reshape(3 * DIM, DIM)
    torch.testing.assert_close(layer.delta(), delta, atol=1e-6, rtol=1e-5)
    expected = x @ (base.weight + delta).T + (base.bias if bias else 0.0)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.update().product(), delta, atol=1e-6, rtol=1e-5)
    assert layer.update().rank == 2 * len(parts)


def test_a_whole_layer_is_its_merged_weight() -> None:
    base, update = nn.Linear(DIM, 32), random_low_rank((32, DIM), 3)
    layer, x = MetaLinear(base, {"": update}), torch.randn(4, DIM)
    expected = x @ (base.weight + update.product()).T + base.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer.update().A, update.A)
    assert torch.equal(layer.update().B, update.B)


def test_an_update_is_a_copy() -> None:
    update = random_low_rank((DIM, DIM), 2)
    before = update.product()
    layer = MetaLinear(nn.Linear(DIM, DIM), {"": update})
    taken = layer.update()
    with torch.no_grad():
        for factor in layer.parameters():
            factor.mul_(3.0)
    assert torch.equal(update.product(), before)
    assert torch.equal(taken.product(), before)
    torch.testing.assert_close(layer.update().product(), 9 * before)


def test_a_layer_follows_the_dtype_of_its_input() -> None:
    base, update = nn.Linear(DIM, DIM), random_low_rank((DIM, DIM), 2)
    layer, x = MetaLinear(base, {"": update}), torch.randn(3, DIM)
    got = layer(x.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), layer(x), atol=0.05, rtol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in layer.parameters())


# --- in the model ----------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [qv_updates(2, seed=3), OTHERS, {**qv_updates(1), **OTHERS}])
def test_the_model_is_the_merged_backbone(backbone: Backbone, updates: dict[str, LowRank]) -> None:
    lora = MetaLora(copy.deepcopy(backbone.model), updates)
    pixels = random_pixels()
    got = embedding_of(lora.model, pixels)
    expected = embedding_of(merged_copy(backbone, updates).model, pixels)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert (got - embedding_of(backbone.model, pixels)).abs().max() > 1e-2


def test_updates_come_back_as_they_were_given(backbone: Backbone) -> None:
    updates = {**qv_updates(2, seed=3), **OTHERS}
    lora = MetaLora(copy.deepcopy(backbone.model), updates)
    back = lora.updates()
    assert set(back) == set(updates)
    for name, product in _products(updates).items():
        torch.testing.assert_close(back[name].product(), product, atol=1e-7, rtol=1e-6)
        assert back[name].rank == updates[name].rank
    again = MetaLora(copy.deepcopy(backbone.model), back).updates()
    for name, update in back.items():
        assert torch.equal(again[name].A, update.A)
        assert torch.equal(again[name].B, update.B)


def test_projections_cut_apart_and_joined_are_the_same() -> None:
    update = qv_updates(2, seed=3)["blocks.0.attn.qkv"]
    parts = dict(projections({"blocks.0.attn.qkv": update}))
    assert set(parts) == {"blocks.0.attn.qkv:q", "blocks.0.attn.qkv:v"}
    back = joined({name.partition(":")[2]: part for name, part in parts.items()})
    assert torch.equal(back.product(), update.product())


def test_only_factors_are_trained_and_the_rest_stays() -> None:
    backbone = tiny_backbone()
    before = copy.deepcopy(backbone.model.state_dict())
    model = copy.deepcopy(backbone.model)
    lora = MetaLora(model, {**qv_updates(2), **OTHERS})
    trained = {id(p) for p in lora.model.parameters() if p.requires_grad}
    factors = lora.factors()
    assert trained == {id(factor) for factor in factors}
    assert len(factors) == 2 * (2 * 2 + len(OTHERS)), "A and B of q and v of two blocks, and others"
    optimiser = torch.optim.Adam(factors, lr=0.02)
    pixels = random_pixels()
    start = [factor.detach().clone() for factor in factors]
    for _ in range(3):
        optimiser.zero_grad()
        lora.model.forward_features(pixels)[:, 0].square().mean().backward()
        optimiser.step()
    assert all((old != new).any() for old, new in zip(start, factors, strict=True))
    after = lora.model.state_dict()
    kept = [name for name in before if name in after]
    assert len(kept) == len(before)
    assert all(torch.equal(after[name], before[name]) for name in kept)
    expected = embedding_of(merged_copy(backbone, lora.updates()).model, pixels)
    torch.testing.assert_close(embedding_of(lora.model, pixels), expected, atol=1e-5, rtol=1e-4)


# --- a random start --------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["qv", "qkv"])
def test_a_random_start_is_the_backbone(backbone: Backbone, parts: str) -> None:
    updates = random_updates(backbone.model, 4, 0, parts)
    lora = MetaLora(copy.deepcopy(backbone.model), updates)
    pixels = random_pixels()
    torch.testing.assert_close(
        embedding_of(lora.model, pixels), embedding_of(backbone.model, pixels), atol=1e-6, rtol=1e-6
    )
    assert list(updates) == ["blocks.0.attn.qkv", "blocks.1.attn.qkv"]
    assert {update.rank for update in updates.values()} == {4 * len(parts)}
    assert len(lora.factors()) == 2 * 2 * len(parts), "no part was taken for one that is absent"


def test_its_A_is_spread_as_he_et_al_do() -> None:
    wide = tiny_backbone(embed_dim=256, depth=1)
    (update,) = random_updates(wide.model, 8, 0).values()
    bound = 1 / 256**0.5
    assert update.A.abs().max() <= bound
    assert float(update.A.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert abs(float(update.A.mean())) < 0.05 * bound


def test_a_random_start_depends_on_the_seed_alone(backbone: Backbone) -> None:
    torch.manual_seed(1)
    first = random_updates(backbone.model, 2, 5)
    torch.manual_seed(2)
    second = random_updates(backbone.model, 2, 5)
    other = random_updates(backbone.model, 2, 6)
    for name, update in first.items():
        assert torch.equal(update.A, second[name].A)
        assert not torch.equal(update.A, other[name].A)


def test_a_random_start_learns(backbone: Backbone) -> None:
    """B as good as zero does not keep Adam from moving both factors."""
    lora = MetaLora(copy.deepcopy(backbone.model), random_updates(backbone.model, 2, 0))
    optimiser = torch.optim.Adam(lora.factors(), lr=0.01)
    pixels = random_pixels()
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = lora.model.forward_features(pixels)[:, 0].square()[:, :8].mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(update.B.abs().max() > 1e-3 for update in lora.updates().values())
