"""Leaving out patches in the exported graph: speed that needs no quantisation.

After the attention of chosen blocks, the patches to which [CLS] attends least go: as LoRA Recycle
does while it inverts images (section 4.2), and EViT (Liang et al., ICLR 2022) in inference. How
many stay is fixed, so every shape but the batch is too; TopK and Gather are all that it takes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_edge.runtime.errors import ExportError, VisionEdgeError

if TYPE_CHECKING:
    from timm.layers.attention import Attention


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


def is_plain(model: nn.Module) -> bool:
    """Whether tokens of a model can be left out: a timm vision transformer of plain blocks."""
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block, VisionTransformer

    return (
        isinstance(model, VisionTransformer)
        and all(type(b) is Block and type(b.attn) is Attention for b in model.blocks)
        and all(getattr(block.attn, "gate", None) is None for block in model.blocks)
    )


def attend(attention: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run a block's attention, and return the share of [CLS]'s attention that each token gets.

    Only the [CLS] row is computed for that, one row a head, beside the fused kernel.

    Args:
        attention: timm's attention; its `qkv` may be any layer from (N, T, D) to (N, T, 3 D).
        x: (N, T, D), normalised.

    Returns:
        The attention's output (N, T, D), and float32 (N, T) without a gradient: the [CLS] row of
        softmax(q k^T / sqrt(d)), averaged over the heads.
    """
    count, length, _ = x.shape
    shape = (count, length, 3, attention.num_heads, attention.head_dim)
    q, k, v = attention.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attention.q_norm(q), attention.k_norm(k)  # (N, H, T, d)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, length, -1)
    with torch.no_grad():
        logits = (q[:, :, :1] * k).sum(-1, dtype=torch.float32) * attention.scale  # (N, H, T)
        row = logits.softmax(-1).mean(1)
    return attention.proj(attention.norm(mixed)), row


class PrunedBlock(nn.Module):
    """A block after whose attention patches go; its layers keep their names.

    Args:
        block: A plain block of a timm vision transformer.
        prefix: Tokens before the patches, which always stay: [CLS] and registers.
        count: How many patches stay.
    """

    def __init__(self, block: Any, prefix: int, count: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = block.norm1, block.attn, block.ls1
        self.norm2, self.mlp, self.ls2 = block.norm2, block.mlp, block.ls2
        self.prefix, self.count = prefix, count

    def forward(self, x: Tensor) -> Tensor:
        """Turn tokens (N, prefix + P, D) into (N, prefix + count, D).

        Patches carry their positions in them, so their order is of no matter afterwards.
        """
        mixed, row = attend(self.attn, self.norm1(x))
        x = x + self.ls1(mixed)
        stay = row[:, self.prefix :].topk(self.count).indices + self.prefix  # (N, count)
        kept = x.gather(1, stay[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, : self.prefix], kept], 1)
        result: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return result


def pruned(model: nn.Module, pruning: Pruning) -> nn.Module:
    """Return a copy of a model that leaves out patches; the model itself is not changed.

    Args:
        model: A timm vision transformer.
        pruning: Which blocks drop how many; ratios from above 0 to below 1.

    Raises:
        ExportError: If it is no plain vision transformer.
        VisionEdgeError: If it has no such block, or a ratio drops nothing.
    """
    if not is_plain(model):
        raise ExportError(
            f"{type(model).__name__}: its blocks are not those of a plain vision transformer, "
            "whose tokens can be pruned",
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
        result.blocks[block - 1] = PrunedBlock(
            result.blocks[block - 1], result.num_prefix_tokens, count
        )
    whole: nn.Module = result
    return whole
