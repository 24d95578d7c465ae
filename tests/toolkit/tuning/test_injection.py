import copy

import pytest
import torch
from support.toolkit import DIM, embedding_of, merged_copy, random_pixels, tiny_backbone
from torch import nn

from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.tuning.injection import LoraQKV, inject, reset

ROWS = {part: slice(index * DIM, (index + 1) * DIM) for index, part in enumerate("qkv")}


def _random_layer(rank: int, parts: str) -> LoraQKV:
    torch.manual_seed(0)
    layer = LoraQKV(nn.Linear(DIM, 3 * DIM), rank, parts)
    nn.init.normal_(layer.B, std=0.1)
    return layer


@pytest.mark.parametrize("parts", ["qv", "vq", "q", "k", "v", "qk", "qkv"])
@pytest.mark.parametrize("rank", [1, 4])
def test_a_layer_computes_what_its_update_says(parts: str, rank: int) -> None:
    layer = _random_layer(rank, parts)
    x = torch.randn(2, 5, DIM)
    update = layer.update()
    with torch.no_grad():
        added = layer(x) - layer.base(x)
    torch.testing.assert_close(added, x @ update.product().T, atol=1e-5, rtol=1e-4)
    assert update.rank == len(parts) * rank
    for part, rows in ROWS.items():
        index = parts.find(part)
        expected = (layer.B[index] @ layer.A[index]).detach() if index >= 0 else torch.zeros(())
        torch.testing.assert_close(
            update.product()[rows], expected.expand(DIM, DIM), atol=1e-6, rtol=1e-5
        )


def test_injected_layers_start_as_the_backbone(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone.model)
    layers = inject(model, rank=3)
    pixels = random_pixels()
    assert list(layers) == ["blocks.0.attn.qkv", "blocks.1.attn.qkv"]
    assert torch.equal(embedding_of(model, pixels), embedding_of(backbone.model, pixels))


def test_a_trained_model_is_the_merged_one(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone.model)
    layers = inject(model, rank=3)
    pixels = random_pixels()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(4):
        optimiser.zero_grad()
        model.forward_features(pixels)[:, 0].square().mean().backward()
        optimiser.step()
    updates = {name: layer.update() for name, layer in layers.items()}
    got = embedding_of(merged_copy(backbone, updates).model, pixels)
    assert (got - embedding_of(backbone.model, pixels)).abs().max() > 1e-2
    torch.testing.assert_close(got, embedding_of(model, pixels), atol=1e-5, rtol=1e-4)


def test_only_the_factors_are_trained_and_the_backbone_stays() -> None:
    model = tiny_backbone().model
    frozen = {id(parameter) for parameter in model.parameters()}
    before = copy.deepcopy(model.state_dict())
    inject(model, rank=2)
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert {name.rpartition(".")[2] for name, _ in trained} == {"A", "B"}
    assert not frozen & {id(parameter) for _, parameter in trained}
    for _, parameter in trained:
        parameter.data.add_(1.0)
    after = {name.replace(".base.", "."): t for name, t in model.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_reset_gives_a_fresh_start(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone.model)
    layers = inject(model, rank=2)
    with torch.no_grad():
        for layer in layers.values():
            layer.B.fill_(1.0)
    old = [layer.A.clone() for layer in layers.values()]
    torch.manual_seed(4)
    reset(layers)
    pixels = random_pixels()
    assert torch.equal(embedding_of(model, pixels), embedding_of(backbone.model, pixels))
    new = [layer.A.clone() for layer in layers.values()]
    assert all(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
    torch.manual_seed(4)
    reset(layers)
    assert all(torch.equal(a, layer.A) for a, layer in zip(new, layers.values(), strict=True))
