import copy

import pytest
import torch
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    embedding_of,
    merged_copy,
    qv_updates,
    random_head,
    random_low_rank,
    random_pixels,
    refusal,
)
from torch import nn

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.inversion.grouped_model import GroupedHead, GroupedLinear, merged_group

Updates = dict[str, LowRank]


def _on(linear: str, seed: int) -> Updates:
    """An update of one linear layer of the first block."""
    return {f"blocks.0.{linear}": random_low_rank(BLOCK_LINEARS[linear], 3, seed)}


DIFFERENT: list[Updates] = [
    qv_updates(2, seed=1),
    _on("attn.proj", 2),
    {},
    {**_on("mlp.fc1", 3), **_on("mlp.fc2", 4)},
    qv_updates(1, seed=5),
]
"""Adapters of other modules and ranks, one that changes nothing among them."""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_group_is_each_adapter_merged_alone(backbone: Backbone, count: int) -> None:
    adapters = DIFFERENT[:count]
    pixels = random_pixels(count * 3)
    got = embedding_of(merged_group(backbone.model, adapters), pixels).reshape(count, 3, DIM)
    for index, updates in enumerate(adapters):
        alone = merged_copy(backbone, updates).model
        own = pixels[index * 3 : index * 3 + 3]
        torch.testing.assert_close(got[index], embedding_of(alone, own), atol=1e-5, rtol=1e-5)
        if updates:
            plain = embedding_of(backbone.model, own)
            assert (got[index] - plain).abs().max() > 1e-2, "the adapter changes too little"


def test_one_image_each_will_do(backbone: Backbone) -> None:
    pixels = random_pixels(2)
    got = embedding_of(merged_group(backbone.model, DIFFERENT[:2]), pixels)
    for index in range(2):
        alone = embedding_of(merged_copy(backbone, DIFFERENT[index]).model, pixels[index][None])
        torch.testing.assert_close(got[index], alone[0], atol=1e-5, rtol=1e-5)


def test_the_gradient_of_an_image_is_that_of_its_adapter(backbone: Backbone) -> None:
    grouped, pixels = merged_group(backbone.model, DIFFERENT[:2]), random_pixels(4)
    together = pixels.clone().requires_grad_()
    grouped.forward_features(together)[:, 0].square().sum().backward()
    assert together.grad is not None
    for index in range(2):
        own = pixels[2 * index : 2 * index + 2].clone().requires_grad_()
        merged = merged_copy(backbone, DIFFERENT[index]).model
        merged.forward_features(own)[:, 0].square().sum().backward()
        torch.testing.assert_close(
            together.grad[2 * index : 2 * index + 2], own.grad, atol=1e-4, rtol=1e-4
        )


def test_another_groups_images_do_not_matter(backbone: Backbone) -> None:
    model, pixels = merged_group(backbone.model, DIFFERENT[:3]), random_pixels(6)
    before = embedding_of(model, pixels)
    pixels[2:4] = 1e3 * random_pixels(2, seed=9)
    after = embedding_of(model, pixels)
    assert torch.equal(before[:2], after[:2])
    assert torch.equal(before[4:], after[4:])
    assert not torch.allclose(before[2:4], after[2:4])


@pytest.mark.parametrize("count", [1, 3])
def test_the_backbone_is_copied_and_the_copy_frozen(backbone: Backbone, count: int) -> None:
    before = copy.deepcopy(backbone.model.state_dict())
    model = merged_group(backbone.model, DIFFERENT[:count])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    after = backbone.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        ("blocks.0.attn.qkv", (DIM, DIM), ("blocks.0.attn.qkv", f"({DIM}, {DIM})")),
        ("blocks.7.attn.qkv", (3 * DIM, DIM), ("blocks.7.attn.qkv",)),
        ("blocks.0.norm1", (DIM, DIM), ("blocks.0.norm1",)),
        ("blocks.0.mlp.fc1", (1, DIM), ("blocks.0.mlp.fc1", f"(1, {DIM})")),
    ],
)
def test_an_update_that_does_not_fit_is_refused(
    backbone: Backbone, count: int, module: str, shape: tuple[int, int], words: tuple[str, ...]
) -> None:
    bad = {module: random_low_rank(shape, 2)}
    with refusal(AdapterError, *words):
        merged_group(backbone.model, [bad, qv_updates()][:count])


@pytest.mark.parametrize("bias", [True, False])
def test_grouped_linear_is_one_layer_a_group(bias: bool) -> None:
    weight, x = torch.randn(3, 7, 5), torch.randn(6, 4, 5)
    common = torch.randn(7) if bias else None
    got = GroupedLinear(weight, common)(x)
    assert got.shape == (6, 4, 7)
    for image in range(6):
        expected = nn.functional.linear(x[image], weight[image // 2], common)
        torch.testing.assert_close(got[image], expected)


def test_grouped_heads_are_each_its_own() -> None:
    heads = [random_head(4, 0), Head(random_head(4, 1).weight), random_head(4, 2)]
    embedding = torch.randn(6, DIM)
    got = GroupedHead(heads)(embedding)
    assert got.shape == (3, 2, 4)
    for index, head in enumerate(heads):
        expected = embedding[2 * index : 2 * index + 2] @ head.weight.T
        if head.bias is not None:
            expected = expected + head.bias
        torch.testing.assert_close(got[index], expected, atol=1e-4, rtol=1e-5)


def test_logits_are_float32_whatever_the_embeddings_are() -> None:
    assert GroupedHead([random_head(3)])(torch.randn(2, DIM).bfloat16()).dtype == torch.float32
