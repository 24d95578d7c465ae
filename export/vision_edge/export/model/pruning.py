"""Leaving out patches in the exported graph: speed that needs no quantisation.

After the attention of chosen blocks, the patches to which [CLS] attends least go: as LoRA Recycle
does while it inverts images (section 4.2), and EViT (Liang et al., ICLR 2022) in inference. How
many stay is fixed, so every shape but the batch is too; TopK and Gather are all that it takes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_edge.runtime.errors import ExportError, VisionEdgeError


@dataclass(frozen=True)
class Pruning:
    """After which blocks how many patches go.

    Attributes:
        steps: Pairs of a block, counted from 1, and the share of the patches still there that it
            drops, from 0 to below 1.
    """

    steps: tuple[tuple[int, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pruning:
        """Parse `11:0.75` or `3:0.3,6:0.3`; an empty text prunes nothing.

        Raises:
            VisionEdgeError: If it is not of that form.
        """
        steps = []
        for item in filter(None, text.replace(" ", "").split(",")):
            block, _, ratio = item.partition(":")
            try:
                steps.append((int(block), float(ratio)))
            except ValueError:
                raise VisionEdgeError(
                    f"--prune {text!r}: {item!r} is not BLOCK:RATIO", fix="for instance 6:0.75"
                ) from None
        return cls(tuple(sorted(steps)))

    def __post_init__(self) -> None:
        blocks = [block for block, _ in self.steps]
        for block, ratio in self.steps:
            if block < 1 or not 0 <= ratio < 1 or blocks.count(block) > 1:
                raise VisionEdgeError(
                    f"pruning {block}:{ratio}: blocks count from 1, each at most once, ratios are "
                    "from 0 to below 1",
                    fix="for instance 6:0.75",
                )

    def check(self, depth: int) -> None:
        """Raise `VisionEdgeError` if it names a block that a model of `depth` blocks lacks."""
        for block, _ in self.steps:
            if block > depth:
                raise VisionEdgeError(
                    f"--prune {self}: there is no block {block}; the backbone has {depth} blocks",
                    fix=f"name blocks from 1 to {depth}",
                )

    def fitted(self, depth: int) -> Pruning:
        """Return the same at blocks that a model of `depth` blocks has; the rest is left out."""
        return replace(self, steps=tuple(step for step in self.steps if step[0] <= depth))

    def counts(self, patches: int) -> dict[int, int]:
        """Return, by block, how many patches are left after it; at least one always is."""
        left, result = patches, {}
        for block, ratio in self.steps:
            left = max(1, round(left * (1 - ratio)))
            result[block] = left
        return result

    def __str__(self) -> str:
        return ",".join(f"{block}:{ratio:g}" for block, ratio in self.steps)


def why_not_prunable(model: nn.Module) -> str | None:
    """Return why tokens of a model cannot be left out, or None if they can.

    Args:
        model: A timm vision transformer, with query, key and value fused.
    """
    from timm.layers.attention import Attention, AttentionRope
    from timm.models.eva import Eva, EvaAttention, EvaBlock
    from timm.models.vision_transformer import Block, VisionTransformer

    if not isinstance(model, VisionTransformer | Eva):
        kind = type(model).__name__
        between = ", with positions between pairs of patches" if kind == "Beit" else ""
        return f"it is a {kind}{between}, not a plain vision transformer"
    if getattr(model, "rope_mixed", False):
        return "its rotary positions are learned for each block and head"
    blocks: Any = model.blocks
    for block in blocks:
        if type(block) not in (Block, EvaBlock):
            return f"its blocks are {type(block).__name__}, not pre-norm attention then MLP"
        if type(block.attn) not in (Attention, AttentionRope, EvaAttention):
            return f"its attention is {type(block.attn).__name__}"
        if getattr(block.attn, "gate", None) is not None or block.attn.qkv is None:
            return "its attention is gated, or keeps query, key and value apart"
    return None


def is_plain(model: nn.Module) -> bool:
    """Whether tokens of a model can be left out."""
    return why_not_prunable(model) is None


def reads_cls(model: nn.Module) -> bool:
    """Whether the embedding is read from [CLS], whose attention then says what matters."""
    return getattr(model, "global_pool", "token") == "token"


def attend(
    attention: Any, x: Tensor, rope: Tensor | None = None, *, by_cls: bool = True
) -> tuple[Tensor, Tensor]:
    """Run a block's attention, and return the share of the attention that each token gets.

    For a model that reads [CLS] only its row is computed for that, one row a head, beside the
    fused kernel. Where the embedding is pooled from the patches, it is the mean over all rows.

    Args:
        attention: timm's attention; its `qkv` may be any layer from (N, T, D) to (N, T, 3 D).
        x: (N, T, D), normalised.
        rope: Rotary positions of the patches, (P, 2 d) or (N, 1, P, 2 d), where there are any.
        by_cls: Whether the attention of [CLS] counts, rather than that of every token.

    Returns:
        The attention's output (N, T, D), and float32 (N, T) without a gradient: rows of
        softmax(q k^T / sqrt(d)), averaged over the heads.
    """
    count, length, _ = x.shape
    shape = (count, length, 3, attention.num_heads, attention.head_dim)
    q, k, v = attention.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attention.q_norm(q), attention.k_norm(k)  # (N, H, T, d)
    if rope is not None:
        q, k = (_rotated(attention, part, rope).type_as(v) for part in (q, k))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, length, -1)
    with torch.no_grad():
        if by_cls:
            logits = (q[:, :, :1] * k).sum(-1, dtype=torch.float32) * attention.scale  # (N, H, T)
            row = logits.softmax(-1).mean(1)
        else:
            scores = (q.float() @ k.float().transpose(-2, -1)) * attention.scale  # (N, H, T, T)
            row = scores.softmax(-1).mean((1, 2))
    return attention.proj(attention.norm(mixed)), row


def _rotated(attention: Any, part: Tensor, rope: Tensor) -> Tensor:
    """Rotate the patches' queries or keys; the tokens before them have no position."""
    from timm.layers.pos_embed_sincos import apply_rot_embed_cat

    before = attention.num_prefix_tokens
    half = getattr(attention, "rotate_half", False)
    turned: Tensor = apply_rot_embed_cat(part[:, :, before:], rope, half=half)
    return torch.cat([part[:, :, :before], turned], 2)


def attention_half(
    block: Any, x: Tensor, rope: Tensor | None, by_cls: bool
) -> tuple[Tensor, Tensor]:
    """Run the first half of a block; return its tokens, and the attention that each got."""
    mixed, row = attend(block.attn, block.norm1(x), rope, by_cls=by_cls)
    return x + _layer_scaled(block, 1, mixed), row


def mlp_half(block: Any, x: Tensor) -> Tensor:
    """Run the second half of a block."""
    return x + _layer_scaled(block, 2, block.mlp(block.norm2(x)))


def _layer_scaled(block: Any, half: int, x: Tensor) -> Tensor:
    """Scale a branch as the block does: timm's ViT by a layer, EVA by a parameter or not at all."""
    layer = getattr(block, f"ls{half}", None)
    if layer is not None:
        scaled: Tensor = layer(x)
        return scaled
    gamma = getattr(block, f"gamma_{half}")
    return x if gamma is None else gamma * x


def run_block(block: Any, x: Tensor, rope: Tensor | None) -> Tensor:
    """Run a whole block as timm does."""
    result: Tensor = block(x) if rope is None else block(x, rope=rope)
    return result


def embedded_tokens(model: Any, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the tokens that enter the first block, (N, T, D), and the rotary positions."""
    tokens = model._pos_embed(model.patch_embed(pixels))
    x, rope = tokens if isinstance(tokens, tuple) else (tokens, None)
    return model.norm_pre(x), rope


def kept_rope(rope: Tensor | None, stay: Tensor) -> Tensor | None:
    """Take the rotary positions of the patches `stay` (N, k): (N, 1, k, 2 d)."""
    if rope is None:
        return None
    if rope.ndim == 2:
        return rope[stay][:, None]
    return rope.gather(2, stay[:, None, :, None].expand(-1, 1, -1, rope.shape[-1]))


def walk(
    model: Any, pixels: Tensor, counts: dict[int, int], blocks: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Run a model's blocks with patches left out: after block `n`, `counts[n]` of them are there.

    Patches carry their positions in them or in `rope`, so their order is of no matter.

    Args:
        model: A timm vision transformer whose tokens can be left out.
        pixels: (N, 3, S, S), as its patch embedding takes them.
        counts: Patches left, by block.
        blocks: How many blocks to run; all by default.

    Returns:
        The tokens (N, T, D), and the rotary positions of their patches.
    """
    x, rope = embedded_tokens(model, pixels)
    prefix = model.num_prefix_tokens
    for index, block in enumerate(model.blocks[:blocks], 1):
        if index not in counts:
            x = run_block(block, x, rope)
            continue
        x, row = attention_half(block, x, rope, reads_cls(model))
        stay = row[:, prefix:].topk(counts[index]).indices  # (N, count)
        kept = x[:, prefix:].gather(1, stay[:, :, None].expand(-1, -1, x.shape[2]))
        x = mlp_half(block, torch.cat([x[:, :prefix], kept], 1))
        rope = kept_rope(rope, stay)
    return x, rope


def patches_left(model: nn.Module) -> dict[int, int]:
    """Return how many patches are left after which blocks of a model that `pruned` made."""
    found: dict[int, int] = getattr(model, "patches_left", {})
    return found


def pruned_embedding(model: Any, pixels: Tensor) -> Tensor:
    """Embed with the patches left out that `pruned` noted in the model."""
    x, _ = walk(model, pixels, patches_left(model))
    embedding: Tensor = model.forward_head(model.norm(x))
    return embedding


def pruned(model: nn.Module, pruning: Pruning) -> nn.Module:
    """Return a copy of a model that leaves out patches; the model itself is not changed.

    `embed_normalised` reads from the copy which blocks drop how many.

    Args:
        model: A timm vision transformer.
        pruning: Which blocks drop how many; ratios from above 0 to below 1.

    Raises:
        ExportError: If its tokens cannot be left out.
        VisionEdgeError: If it has no such block, or a ratio drops nothing.
    """
    reason = why_not_prunable(model)
    if reason is not None:
        raise ExportError(
            f"{type(model).__name__}: its tokens cannot be pruned: {reason}",
            fix="export without --prune",
        )
    result: Any = copy.deepcopy(model).eval()
    pruning.check(len(result.blocks))
    left = patches = int(result.patch_embed.num_patches)
    for block, count in pruning.counts(patches).items():
        if count >= left:
            raise VisionEdgeError(
                f"pruning {pruning}: drops none of the {left} patches at block {block}",
                fix="give a share between 0 and 1, such as 6:0.5",
            )
        left = count
    result.patches_left = pruning.counts(patches)
    whole: nn.Module = result
    return whole
