"""A vision transformer's forward pass on the tokens that matter.

Two ways to leave patches out, both of which remove them from the computation, forward and backward:

- *token pruning* while images are inverted: after the attention of chosen blocks, the patches to
  which [CLS] attends least go (LoRA Recycle, section 4.2; where in the block as in EViT, Liang et
  al., ICLR 2022);
- *sparse tokens* while meta-learning: only chosen patches are embedded at all (section 4.3).

Only the [CLS] row of the attention is computed for that, one row a head, beside the fused kernel;
models whose embedding is not [CLS] (mean of patches, attention pooling) take the mean of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.pruning import (
    Pruning,
    attention_half,
    embedded_tokens,
    kept_rope,
    mlp_half,
    reads_cls,
    run_block,
    why_not_prunable,
)
from vision_edge.runtime.errors import BackboneError


@dataclass(frozen=True)
class TokenOutput:
    """What a forward pass on tokens gives.

    Attributes:
        embedding: (N, D): as `embed_normalised` gives it, of the patches that are left.
        order: int64 (N, P): the patches that were fed in, the most important first: those that
            were left at the end by the [CLS] attention of the last block, then those dropped
            last, and so on. None unless it was asked for.
    """

    embedding: Tensor
    order: Tensor | None = None


def check_tokens(model: nn.Module, name: str) -> None:
    """Raise `BackboneError` unless tokens of this model can be pruned.

    Args:
        model: A timm vision transformer.
        name: What to call it.
    """
    reason = why_no_tokens(model)
    if reason is not None:
        raise BackboneError(
            f"{name}: its patches cannot be left out, as recycle does: {reason}",
            fix="use --method average, which works with every backbone that loads, or a plain "
            "vit_*, deit_* or vit_*_clip_* model",
        )


def why_no_tokens(model: nn.Module) -> str | None:
    """Return why `forward_tokens` cannot run a model, or None if it can."""
    embed = getattr(model, "patch_embed", None)
    if (
        not isinstance(embed, PatchEmbed)
        or not isinstance(embed.proj, nn.Conv2d)
        or embed.proj.padding not in ((0, 0), "valid")
    ):
        return "its patches are not embedded by one unpadded convolution"
    return why_not_prunable(model)


def patch_count(model: VisionTransformer) -> int:
    """Return the number of patches P of an image."""
    return int(model.patch_embed.num_patches)


def split_patches(pixels: Tensor, side: int) -> Tensor:
    """Cut (N, C, S, S) into (N, P, C * side * side), rows first, as a convolution reads them."""
    count, channels, height, width = pixels.shape
    grid = pixels.reshape(count, channels, height // side, side, width // side, side)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * side * side)


def forward_tokens(
    model: VisionTransformer,
    pixels: Tensor,
    *,
    keep: Tensor | None = None,
    pruning: Pruning | None = None,
    with_order: bool = False,
    compiled: bool = False,
) -> TokenOutput:
    """Embed images, leaving out patches; without `keep` and `pruning` just as the model does.

    Args:
        model: A timm vision transformer that passed `check_tokens`.
        pixels: (N, 3, S, S), RGB, normalised, of the model's dtype.
        keep: int64 (N, k): the patches that are fed in, in ascending order; default: all.
        pruning: Which blocks drop patches.
        with_order: Whether to return the patches' order of importance.
        compiled: Whether to run compiled blocks. All blocks are alike, so one is compiled for
            all of them, whatever number of patches they get: seconds, where the whole model takes
            a minute. A block that drops patches is not compiled: there is one, or a few.
    """
    run = compiled_block() if compiled else run_block
    x, rope = _embedded(model, pixels, keep)
    by_cls = reads_cls(model)
    order = keep if keep is not None else _all_patches(x, model)
    counts = pruning.counts(order.shape[1]) if pruning else {}
    dropped: list[Tensor] = []
    last = len(model.blocks)
    for index, block in enumerate(model.blocks, 1):
        if index not in counts and not (with_order and index == last):
            x = run(block, x, rope)
            continue
        x, attention = attention_half(block, x, rope, by_cls)
        attention = attention[:, model.num_prefix_tokens :]  # (N, k)
        if index in counts and counts[index] < attention.shape[1]:
            if rope is not None:
                rope = kept_rope(rope, most_attended(attention, counts[index]))
            x, order, gone, attention = drop(x, order, attention, counts[index])
            dropped.insert(0, gone)
        x = mlp_half(block, x)
        if with_order and index == last:
            order = order.gather(1, attention.argsort(dim=1, descending=True, stable=True))
    embedding = model.forward_head(model.norm(x))
    return TokenOutput(embedding, torch.cat([order, *dropped], 1) if with_order else None)


@cache
def compiled_block() -> Callable[[Any, Tensor, Tensor | None], Tensor]:
    """Return `run_block`, compiled when it is first run; once for any number of patches."""
    run = torch.compile(run_block, dynamic=None)

    def of_any_length(block: Any, x: Tensor, rope: Tensor | None) -> Tensor:
        torch._dynamo.maybe_mark_dynamic(x, 1)
        if rope is not None:
            torch._dynamo.maybe_mark_dynamic(rope, rope.ndim - 2)
        result: Tensor = run(block, x, rope)
        return result

    return of_any_length


def _embedded(
    model: VisionTransformer, pixels: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Embed the patches and put the prefix tokens before them: (N, prefix + k, D), and rope."""
    if type(model) is not VisionTransformer:
        x, rope = embedded_tokens(model, pixels)
        if keep is None:
            return x, rope
        prefix = model.num_prefix_tokens
        return torch.cat([x[:, :prefix], _rows(x[:, prefix:], keep)], 1), kept_rope(rope, keep)
    patches = split_patches(pixels, int(model.patch_embed.patch_size[0]))  # (N, P, 3 p p)
    if keep is not None:
        patches = _rows(patches, keep)
    projection = model.patch_embed.proj
    tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)  # (N, k, D)
    x = model.norm_pre(_with_prefix(model, model.patch_embed.norm(tokens), keep))
    return x, None


def most_attended(attention: Tensor, count: int) -> Tensor:
    """Return the places of the `count` patches with the most attention (N, count), ascending."""
    ranked = attention.argsort(dim=1, descending=True, stable=True)
    return ranked[:, :count].sort(1).values


def drop(
    x: Tensor, order: Tensor, attention: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the prefix tokens and the `count` patches with the most attention.

    Args:
        x: (N, prefix + k, D).
        order: int64 (N, k): which patches these are.
        attention: (N, k).
        count: How many patches stay.

    Returns:
        The tokens that stay (N, prefix + count, D), their patches (N, count) in ascending
        position, the patches that go (N, k - count), the more important first, and the attention
        of those that stay (N, count).
    """
    ranked = attention.argsort(dim=1, descending=True, stable=True)
    stay = ranked[:, :count].sort(1).values
    gone = order.gather(1, ranked[:, count:])
    prefix = x.shape[1] - order.shape[1]
    kept = torch.cat([x[:, :prefix], _rows(x[:, prefix:], stay)], 1)
    return kept, order.gather(1, stay), gone, attention.gather(1, stay)


def most_important(order: Tensor, share_left_out: float) -> Tensor:
    """Return the patches to feed when a share of them is left out.

    Args:
        order: (N, P), the most important first.
        share_left_out: From 0 to below 1; at least one patch is kept.

    Returns:
        (N, k), in ascending order.
    """
    count = max(1, round(order.shape[1] * (1 - share_left_out)))
    return order[:, :count].long().sort(1).values


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Take rows `index` (N, k) of x (N, T, D)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[-1]))


def _all_patches(x: Tensor, model: VisionTransformer) -> Tensor:
    return torch.arange(patch_count(model), device=x.device).expand(len(x), -1)


def _with_prefix(model: VisionTransformer, tokens: Tensor, keep: Tensor | None) -> Tensor:
    """Add the position embedding of the patches that are there, and put [CLS] before them."""
    prefix = [
        token.expand(len(tokens), -1, -1)
        for token in (model.cls_token, model.reg_token)
        if token is not None
    ]
    if model.pos_embed is None:
        return torch.cat([*prefix, tokens], 1)
    before = 0 if model.no_embed_class else model.num_prefix_tokens
    positions = model.pos_embed[:, before:]
    if keep is not None:
        positions = positions[0][keep]  # (N, k, D)
    first = torch.cat(prefix, 1) if prefix else tokens[:, :0]
    if before:
        first = first + model.pos_embed[:, :before]
    return torch.cat([first, tokens + positions], 1)
