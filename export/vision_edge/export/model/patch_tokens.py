"""Patch tokens: what a part's picture is made of, as a second output.

Of the last block's patches those stay that [CLS] attends to most, or all tokens where the embedding
is not read from [CLS]: a quarter of them. They pass the block's second half and the norms; less the
mean token of any picture and at unit length, their products tell how well one picture's patches are
found in another's (`vision_edge.runtime.recognition.patch_ranking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.export.model.pruning import (
    attention_half,
    mlp_half,
    patches_left,
    reads_cls,
    walk,
    why_not_prunable,
)
from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.preprocess import PreprocessSpec

SHARE = 0.25
"""Share of the patches that stay: 49 of 196."""
MEAN_IMAGES = 32
"""Pictures that the mean token is taken over."""


@dataclass(frozen=True)
class PatchOutput:
    """The second output.

    Attributes:
        count: Patches an image, T.
        mean: float32 (D,), the mean token, which is taken off.
    """

    count: int
    mean: Embeddings


def tokens_and_patches(model: Any, pixels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the embedding and the patches that got most attention, after the norms.

    Args:
        model: A timm vision transformer whose tokens can be left out; blocks before the last may
            leave out patches.
        pixels: (N, 3, S, S), as its patch embedding takes them.
        count: How many patches.

    Returns:
        (N, D) and (N, count, D).
    """
    x, rope = walk(model, pixels, patches_left(model), len(model.blocks) - 1)
    last, prefix, by_cls = model.blocks[-1], model.num_prefix_tokens, reads_cls(model)
    x, row = attention_half(last, x, rope, by_cls)
    best = row[:, prefix:].topk(count).indices + prefix  # (N, count)
    best = best[:, :, None].expand(-1, -1, x.shape[2])
    if by_cls:  # no other patch reaches the embedding any more
        x = model.norm(mlp_half(last, torch.cat([x[:, :prefix], x.gather(1, best)], 1)))
        patches = x[:, prefix:]
    else:
        x = model.norm(mlp_half(last, x))
        patches = x.gather(1, best)
    return model.forward_head(x), model.fc_norm(patches)


def centred(patches: Tensor, mean: Tensor) -> Tensor:
    """Return patches (N, T, D) less the mean (D,), each of length 1."""
    apart = patches - mean
    unit: Tensor = apart / apart.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return unit


def patch_output(model: nn.Module, spec: PreprocessSpec, images: Image) -> PatchOutput:
    """Decide on a model's second output.

    Args:
        model: A timm vision transformer, its patches pruned already where they shall be.
        spec: Its preprocessing.
        images: uint8 (N, S, S, 3), BGR, prepared: pictures for the mean token.

    Raises:
        ExportError: If the model is no plain vision transformer, or leaves out patches in its last
            block.
    """
    plain: Any = model
    reason = why_not_prunable(model)
    if reason is not None:
        raise ExportError(
            f"{type(model).__name__}: its patches cannot be returned: {reason}",
            fix="export without --patches",
        )
    pruning = patches_left(model)
    if len(plain.blocks) in pruning:
        raise ExportError(
            "the last block leaves out patches (--prune), and its patches are asked for",
            fix="prune earlier blocks, or export without --patches",
        )
    left = min([int(plain.patch_embed.num_patches), *pruning.values()])
    count = max(1, min(left, round(SHARE * int(plain.patch_embed.num_patches))))
    with torch.inference_mode():
        pixels = normalise_pixels(torch.from_numpy(images[:MEAN_IMAGES]), spec)
        _, patches = tokens_and_patches(plain, pixels, count)
    return PatchOutput(count, patches.mean(dim=(0, 1)).float().numpy())


@torch.inference_mode()
def reference_patches(
    model: nn.Module, spec: PreprocessSpec, images: Image, output: PatchOutput
) -> Patches:
    """Return PyTorch's patches of prepared images, uint8 (N, S, S, 3) BGR: float32 (N, T, D)."""
    mean, parts = torch.from_numpy(output.mean), []
    for image in images:
        pixels = normalise_pixels(torch.from_numpy(image[None]), spec)
        _, patches = tokens_and_patches(model, pixels, output.count)
        parts.append(centred(patches, mean).float().numpy())
    return np.concatenate(parts)
