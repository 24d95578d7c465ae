import copy
from functools import partial
from typing import Any

import pytest
import torch
from support.toolkit import SIZE, embedding_of, random_pixels, refusal, tiny_backbone
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch._dynamo.utils import counters

from vision_edge.export.model.merge import LowRank
from vision_edge.export.model.pruning import Pruning, attend
from vision_edge.runtime.errors import BackboneError, VisionEdgeError
from vision_edge.toolkit.backbones.tokens import (
    check_tokens,
    compiled_block,
    drop,
    forward_tokens,
    most_important,
    patch_count,
    split_patches,
)
from vision_edge.toolkit.inversion.grouped_model import merged_group

SIDE = 8
MANY = {"img_size": 32, "patch_size": SIDE}
"""Sixteen patches."""
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 3},
    "no_embed_class": {"no_embed_class": True, "reg_tokens": 2},
    "clip": {"pre_norm": True},
    "layer_scale": {"init_values": 0.3},
    "qk_norm": {"qk_norm": True},
    "attention_norm": {"scale_attn_norm": True},
    "no_positions": {"pos_embed": "none"},
}


def _model(seed: int = 0, **model_args: Any) -> VisionTransformer:
    """A tiny model in which every parameter matters: norms, scales and biases too."""
    model = tiny_backbone(seed, **{**MANY, **model_args}).model
    generator = torch.Generator().manual_seed(seed + 1)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> VisionTransformer:
    return _model(**KINDS[request.param])


@pytest.fixture(scope="module")
def deep() -> VisionTransformer:
    return _model(depth=4)


# --- the same as the model -------------------------------------------------------------------


def test_with_all_tokens_it_is_the_model(model: VisionTransformer) -> None:
    pixels = random_pixels(3)
    expected = embedding_of(model, pixels)
    everything = torch.arange(16).expand(3, -1)
    for options in ({}, {"keep": everything}, {"with_order": True}, {"pruning": Pruning()}):
        got = forward_tokens(model, pixels, **options).embedding  # type: ignore[arg-type]
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)


def test_pruning_nothing_is_the_model(model: VisionTransformer) -> None:
    pixels = random_pixels(2)
    got = forward_tokens(model, pixels, pruning=Pruning(((1, 0.0), (2, 0.0)))).embedding
    torch.testing.assert_close(got, embedding_of(model, pixels), atol=2e-5, rtol=1e-5)


def test_so_is_the_gradient(model: VisionTransformer) -> None:
    ours, theirs = random_pixels(2).requires_grad_(), random_pixels(2).requires_grad_()
    forward_tokens(model, ours, with_order=True).embedding.square().sum().backward()
    model.forward_features(theirs)[:, 0].square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-4)


def test_without_the_order_none_is_given(model: VisionTransformer) -> None:
    assert forward_tokens(model, random_pixels(1)).order is None
    assert patch_count(model) == 16


def test_patches_are_cut_as_the_convolution_reads_them() -> None:
    pixels = random_pixels(2, size=24)
    convolution = nn.Conv2d(3, 5, SIDE, SIDE)
    expected = convolution(pixels).flatten(2).transpose(1, 2)
    weight = convolution.weight.flatten(1)
    got = split_patches(pixels, SIDE) @ weight.T + convolution.bias
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


# --- attention -------------------------------------------------------------------------------


def _explicit_attention(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """timm's own unfused attention of a block: its output, and softmax(q k^T / sqrt d) of it."""
    attention = copy.deepcopy(block.attn)
    attention.fused_attn = False  # type: ignore[union-attr, assignment]
    seen: list[Tensor] = []
    attention.attn_drop.register_forward_hook(  # type: ignore[union-attr, operator]
        lambda _module, inputs, _output: seen.append(inputs[0].detach())
    )
    return attention(block.norm1(x)), seen[0]  # type: ignore[operator]  # (N, H, T, T)


@torch.no_grad()
def test_the_row_of_cls_is_that_of_an_explicit_softmax(model: VisionTransformer) -> None:
    block = model.blocks[0]
    x = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(3)) * 2
    mixed, row = attend(block.attn, block.norm1(x))
    expected, attention = _explicit_attention(block, x)
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(row, attention[:, :, 0].mean(1), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(row.sum(1), torch.ones(2))
    assert row.std() > 1e-3, "a uniform row would prove nothing"


@torch.no_grad()
def _naive(
    model: VisionTransformer, pixels: Tensor, counts: dict[int, int]
) -> tuple[Tensor, list[list[int]]]:
    """One image at a time, with lists and the unfused attention; and all patches by importance."""
    embeddings, orders = [], []
    for image in pixels:
        x = model.norm_pre(model._pos_embed(model.patch_embed(image[None])))
        before, dropped = model.num_prefix_tokens, []
        patches = list(range(x.shape[1] - before))
        for number, block in enumerate(model.blocks, 1):
            mixed, attention = _explicit_attention(block, x)
            x = x + block.ls1(mixed)
            weights = attention[0, :, 0].mean(0)[before:].tolist()
            ranked = sorted(range(len(patches)), key=lambda i: -weights[i])
            if number in counts:
                stay = sorted(ranked[: counts[number]])
                dropped = [patches[i] for i in ranked[counts[number] :]] + dropped
                x = x[:, [*range(before), *(before + i for i in stay)]]
                patches, weights = [patches[i] for i in stay], [weights[i] for i in stay]
            x = x + block.ls2(block.mlp(block.norm2(x)))
        last = sorted(range(len(patches)), key=lambda i: -weights[i])
        embeddings.append(model.norm(x)[0, 0])
        orders.append([patches[i] for i in last] + dropped)
    return torch.stack(embeddings), orders


@pytest.mark.parametrize(
    "steps", [(), ((1, 0.5),), ((2, 0.75),), ((4, 0.5),), ((1, 0.25), (3, 0.5), (4, 0.5))]
)
def test_pruning_and_order_equal_a_naive_loop(
    deep: VisionTransformer, steps: tuple[tuple[int, float], ...]
) -> None:
    pixels, pruning = random_pixels(4), Pruning(steps)
    embedding, order = _naive(deep, pixels, pruning.counts(16))
    got = forward_tokens(deep, pixels, pruning=pruning, with_order=True)
    torch.testing.assert_close(got.embedding, embedding, atol=2e-5, rtol=1e-5)
    assert got.order is not None
    assert got.order.tolist() == order
    assert len(set(map(tuple, order))) > 1, "all images have the same order: it proves nothing"
    without = forward_tokens(deep, pixels, pruning=pruning)
    torch.testing.assert_close(without.embedding, embedding, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prefix_tokens_are_never_dropped(kind: str) -> None:
    model, pixels = _model(**KINDS[kind]), random_pixels(2)
    embedding, order = _naive(model, pixels, {1: 3})
    got = forward_tokens(model, pixels, pruning=Pruning(((1, 0.8),)), with_order=True)
    torch.testing.assert_close(got.embedding, embedding, atol=2e-5, rtol=1e-5)
    assert got.order is not None
    assert got.order.tolist() == order


def test_the_order_is_a_permutation_of_what_was_fed(deep: VisionTransformer) -> None:
    pixels, pruning = random_pixels(3), Pruning(((2, 0.3), (4, 0.5)))
    everything = forward_tokens(deep, pixels, pruning=pruning, with_order=True).order
    assert everything is not None
    assert torch.equal(everything.sort(1).values, torch.arange(16).expand(3, -1))
    keep = torch.tensor([[0, 5, 7, 15], [1, 2, 3, 4], [9, 10, 11, 12]])
    some = forward_tokens(deep, pixels, keep=keep, pruning=pruning, with_order=True).order
    assert some is not None
    assert torch.equal(some.sort(1).values, keep)


def test_an_image_is_pruned_by_itself(deep: VisionTransformer) -> None:
    pixels, pruning = random_pixels(4), Pruning(((1, 0.5), (3, 0.5)))
    together = forward_tokens(deep, pixels, pruning=pruning, with_order=True)
    for index in range(4):
        one = pixels[index : index + 1]
        alone = forward_tokens(deep, one, pruning=pruning, with_order=True)
        torch.testing.assert_close(
            alone.embedding[0], together.embedding[index], atol=1e-5, rtol=1e-5
        )
        assert alone.order is not None
        assert together.order is not None
        assert torch.equal(alone.order[0], together.order[index])


def test_any_layer_may_take_the_place_of_qkv(deep: VisionTransformer) -> None:
    changed = copy.deepcopy(deep)
    for block in changed.blocks:
        block.attn.qkv = nn.Sequential(block.attn.qkv)  # type: ignore[union-attr, assignment]
    pixels, pruning = random_pixels(2), Pruning(((1, 0.5),))
    expected = forward_tokens(deep, pixels, pruning=pruning).embedding
    assert torch.equal(forward_tokens(changed, pixels, pruning=pruning).embedding, expected)


# --- leaving patches out ---------------------------------------------------------------------


def _patch_gradients(pixels: Tensor) -> Tensor:
    """The largest absolute gradient of each patch: (N, P)."""
    assert pixels.grad is not None
    return split_patches(pixels.grad, SIDE).abs().amax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_not_kept_get_no_gradient_at_all(kind: str) -> None:
    model, pixels = _model(**KINDS[kind]), random_pixels(2).requires_grad_()
    keep = torch.tensor([[0, 3, 10], [2, 11, 15]])
    forward_tokens(model, pixels, keep=keep).embedding.sum().backward()
    fed = torch.zeros(2, 16, dtype=torch.bool).scatter(1, keep, value=True)
    gradients = _patch_gradients(pixels)
    assert (gradients[~fed] == 0).all()
    assert (gradients[fed] > 0).all()


def test_what_is_kept_out_does_not_matter(model: VisionTransformer) -> None:
    keep = torch.tensor([[1, 4, 9, 14]]).expand(2, -1)
    pixels = random_pixels(2)
    other = split_patches(torch.full_like(pixels, 1e6), SIDE)
    other[:, [1, 4, 9, 14]] = split_patches(pixels, SIDE)[:, [1, 4, 9, 14]]
    grid = other.reshape(2, 4, 4, 3, SIDE, SIDE).permute(0, 3, 1, 4, 2, 5)
    changed = grid.reshape(2, 3, SIZE, SIZE)
    expected = forward_tokens(model, pixels, keep=keep).embedding
    assert torch.equal(forward_tokens(model, changed, keep=keep).embedding, expected)
    assert not torch.allclose(expected, embedding_of(model, pixels))


def test_kept_patches_have_their_own_positions(model: VisionTransformer) -> None:
    """As if the attention of every token to the other patches were masked."""
    keep = [0, 2, 3, 9, 15]
    pixels = random_pixels(2)
    with torch.no_grad():
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(pixels)))
        before = model.num_prefix_tokens
        rows = [*range(before), *(before + patch for patch in keep)]
        expected = model.norm(model.blocks(tokens[:, rows]))[:, 0]
    got = forward_tokens(model, pixels, keep=torch.tensor([keep, keep])).embedding
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)


def test_dropped_tokens_get_no_gradient_from_there_on(deep: VisionTransformer) -> None:
    """The input of the block's second half and of all later blocks has only tokens that stay."""
    pixels, lengths = random_pixels(2), []
    hooks = [
        layer.register_forward_hook(lambda _m, inputs, _o: lengths.append(inputs[0].shape[1]))
        for block in deep.blocks
        for layer in (block.norm1, block.norm2)
    ]
    forward_tokens(deep, pixels, pruning=Pruning(((2, 0.5), (3, 0.5))))
    for hook in hooks:
        hook.remove()
    assert lengths == [17, 17, 17, 9, 9, 5, 5, 5]


def test_a_dropped_token_itself_gets_exactly_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2 + 5, 8, generator=generator, requires_grad=True)
    attention = torch.tensor([[0.1, 0.5, 0.2, 0.4, 0.3], [0.9, 0.1, 0.8, 0.2, 0.3]])
    order = torch.tensor([[3, 4, 6, 8, 9], [0, 1, 2, 5, 7]])
    kept, left, gone, weights = drop(x, order, attention, 3)
    assert left.tolist() == [[4, 8, 9], [0, 2, 7]]
    assert gone.tolist() == [[6, 3], [5, 1]]
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.4, 0.3], [0.9, 0.8, 0.3]]))
    stay = torch.tensor([[0, 1, 3, 5, 6], [0, 1, 2, 4, 6]])
    assert torch.equal(kept, torch.stack([row[index] for row, index in zip(x, stay, strict=True)]))
    kept.square().sum().backward()
    assert x.grad is not None
    stays = torch.zeros(2, 7, dtype=torch.bool).scatter(1, stay, value=True)
    assert (x.grad[~stays] == 0).all()
    assert torch.equal(x.grad[stays], 2 * x.detach()[stays])


def test_a_dropped_patch_has_no_way_past_the_block_that_drops_it() -> None:
    """With values of zero in that block, its pixels have no gradient; those that stay have one."""
    model = _model(depth=2)
    qkv = model.blocks[0].attn.qkv  # type: ignore[union-attr]
    qkv.weight.data[2 * 64 :] = 0  # type: ignore[union-attr, operator, index]
    qkv.bias.data[2 * 64 :] = 0  # type: ignore[union-attr, operator, index]
    pixels = random_pixels(2).requires_grad_()
    result = forward_tokens(model, pixels, pruning=Pruning(((1, 0.75),)), with_order=True)
    result.embedding.sum().backward()
    assert result.order is not None
    stays = torch.zeros(2, 16, dtype=torch.bool).scatter(1, result.order[:, :4], value=True)
    gradients = _patch_gradients(pixels)
    assert (gradients[~stays] == 0).all()
    assert (gradients[stays] > 0).all()


def test_the_most_important_patches_come_back_in_ascending_order() -> None:
    order = torch.tensor([[3, 0, 2, 1], [1, 3, 0, 2]], dtype=torch.int16)
    assert most_important(order, 0.5).tolist() == [[0, 3], [1, 3]]
    assert most_important(order, 0.25).tolist() == [[0, 2, 3], [0, 1, 3]]
    assert most_important(order, 0.0).tolist() == [[0, 1, 2, 3]] * 2
    assert most_important(order, 0.99).tolist() == [[3], [1]]
    assert most_important(order, 0.5).dtype == torch.int64


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("11:0.75", ((11, 0.75),)),
        ("3:0.3,6:0.3,8:0.3,11:0.3", ((3, 0.3), (6, 0.3), (8, 0.3), (11, 0.3))),
        (" 6: 0.5, 2:0 ,", ((2, 0.0), (6, 0.5))),
    ],
)
def test_pruning_is_parsed(text: str, steps: tuple[tuple[int, float], ...]) -> None:
    pruning = Pruning.parse(text)
    assert pruning.steps == steps
    assert Pruning.parse(str(pruning)) == pruning


@pytest.mark.parametrize(
    "text", ["x", "3", "3:", ":0.5", "3:half", "1.5:0.3", "3:0.3:0.4", "3;0.3"]
)
def test_other_texts_are_refused(text: str) -> None:
    with refusal(VisionEdgeError, repr(text), "BLOCK:RATIO"):
        Pruning.parse(text)


@pytest.mark.parametrize(
    "text", ["0:0.5", "-1:0.5", "2:1", "2:1.5", "2:-0.1", "2:nan", "3:0.1,3:0.2"]
)
def test_pruning_that_makes_no_sense_is_refused(text: str) -> None:
    with refusal(VisionEdgeError, "pruning", text.partition(":")[0]):
        Pruning.parse(text)


def test_a_block_that_is_not_there_is_refused() -> None:
    Pruning.parse("12:0.5").check(12)
    with refusal(VisionEdgeError, "block 12", "2 blocks"):
        Pruning.parse("1:0.5,12:0.5").check(2)


def test_counts_shrink_from_what_is_left() -> None:
    assert Pruning.parse("3:0.3,6:0.3,8:0.3,11:0.3").counts(196) == {3: 137, 6: 96, 8: 67, 11: 47}
    assert Pruning.parse("11:0.75").counts(196) == {11: 49}
    assert Pruning.parse("1:0.9,2:0.9").counts(4) == {1: 1, 2: 1}
    assert Pruning().counts(196) == {}


# --- models that are not plain ---------------------------------------------------------------


def test_plain_models_pass(model: VisionTransformer) -> None:
    check_tokens(model, "mine")


def _gated(model: VisionTransformer) -> None:
    model.blocks[1].attn.gate = nn.Linear(64, 64)  # type: ignore[union-attr]


def _other_block(model: VisionTransformer) -> None:
    class Own(type(model.blocks[0])):  # type: ignore[misc]
        pass

    model.blocks[1].__class__ = Own


def _other_attention(model: VisionTransformer) -> None:
    class Own(type(model.blocks[0].attn)):  # type: ignore[misc]
        pass

    model.blocks[0].attn.__class__ = Own


def _hybrid(model: VisionTransformer) -> None:
    model.patch_embed = nn.Sequential(model.patch_embed)


def _padded(model: VisionTransformer) -> None:
    model.patch_embed.proj = nn.Conv2d(3, 64, SIDE, SIDE, padding=1)


def _stem(model: VisionTransformer) -> None:
    model.patch_embed.proj = nn.Sequential(model.patch_embed.proj)


@pytest.mark.parametrize("spoil", [_gated, _other_block, _other_attention, _hybrid, _padded, _stem])
def test_models_that_are_not_plain_are_refused_by_name(spoil: Any) -> None:
    model = _model()
    spoil(model)
    with refusal(BackboneError, "mine"):
        check_tokens(model, "mine")


@pytest.mark.parametrize(
    ("name", "model_args"),
    [
        ("vit_tiny_r_s16_p8_224", {"img_size": 64, "depth": 1, "embed_dim": 64, "num_heads": 2}),
        ("test_vit", {"block_fn": "parallel"}),
    ],
)
def test_timms_own_variants_are_refused(name: str, model_args: dict[str, Any]) -> None:
    from timm.models.vision_transformer import ParallelScalingBlock

    parallel = {"block_fn": ParallelScalingBlock} if model_args.get("block_fn") else {}
    with refusal(BackboneError, name):
        tiny_backbone(name=name, **{**model_args, **parallel})


def test_one_compiled_block_serves_any_number_of_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling is most of a short build: blocks, pruned or not, and groups share one program."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled_block.cache_clear()
    torch._dynamo.reset()
    counters.clear()
    generator = torch.Generator().manual_seed(0)
    plain = _model(depth=4)
    updates = {
        f"blocks.{index}.attn.qkv": LowRank(
            torch.randn(2, plain.embed_dim, generator=generator),
            0.1 * torch.randn(3 * plain.embed_dim, 2, generator=generator),
        )
        for index in range(4)
    }
    grouped = merged_group(plain, [updates, {}])
    try:
        for pruning in (Pruning(), Pruning(((2, 0.5),)), Pruning(((1, 0.3), (3, 0.3)))):
            pixels = random_pixels(4).requires_grad_()
            found = forward_tokens(grouped, pixels, pruning=pruning, compiled=True).embedding
            found.sum().backward()
            expected = forward_tokens(grouped, pixels, pruning=pruning).embedding
            torch.testing.assert_close(found, expected)
        assert counters["stats"]["unique_graphs"] == 1
    finally:
        compiled_block.cache_clear()
        torch._dynamo.reset()
