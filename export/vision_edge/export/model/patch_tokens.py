"""Patch tokens: what a part's picture is made of, as a second output.

Of the last block's patches those stay that [CLS] attends to most: a quarter of them. They pass the
block's second half and the final norm like [CLS]; less the mean token of any picture and at unit
length, their products tell how well one picture's patches are found in another's
(`vision_edge.runtime.recognition.patch_ranking`).
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
    run_blocks,
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
    """Return [CLS] and the patches that it attends to most, after the final norm.

    Args:
        model: A plain timm vision transformer; blocks before the last may leave out patches.
        pixels: (N, 3, S, S), as its patch embedding takes them.
        count: How many patches.

    Returns:
        (N, D) and (N, count, D).
    """
    depth = len(model.blocks)
    x, rope = run_blocks(model, pixels, patches_left(model), depth - 1)
    last, prefix = model.blocks[-1], model.num_prefix_tokens
    x, row = attention_half(last, x, rope, by_cls=True)
    best = row[:, prefix:].topk(count).indices + prefix  # (N, count)
    kept = x.gather(1, best[:, :, None].expand(-1, -1, x.shape[2]))
    x = model.norm(mlp_half(last, torch.cat([x[:, :1], kept], 1)))
    return x[:, 0], x[:, 1:]


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
        ExportError: If the model is no plain vision transformer that reads [CLS], or leaves out
            patches in its last block.
    """
    plain: Any = model
    reason = why_not_prunable(model)
    if reason is None and not reads_cls(model):
        reason = "its embedding is not read from [CLS], whose attention chooses the patches"
    if reason is not None:
        raise ExportError(
            f"{type(model).__name__}: its patches cannot be returned: {reason}",
            fix="export without --patches",
        )
    counts = patches_left(model)
    if len(plain.blocks) in counts:
        raise ExportError(
            "the last block leaves out patches (--prune), and its patches are asked for",
            fix="prune earlier blocks, or export without --patches",
        )
    left = min([int(plain.patch_embed.num_patches), *counts.values()])
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
