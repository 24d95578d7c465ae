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
from vision_edge.export.model.pruning import PrunedBlock, attend, is_plain
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
    x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(pixels))))
    for block in model.blocks[:-1]:
        x = block(x)
    last, prefix = model.blocks[-1], model.num_prefix_tokens
    mixed, row = attend(last.attn, last.norm1(x))
    x = x + last.ls1(mixed)
    best = row[:, prefix:].topk(count).indices + prefix  # (N, count)
    kept = x.gather(1, best[:, :, None].expand(-1, -1, x.shape[2]))
    x = torch.cat([x[:, :1], kept], 1)
    x = model.norm(x + last.ls2(last.mlp(last.norm2(x))))
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
        ExportError: If the model is no plain vision transformer, or leaves out patches in its last
            block.
    """
    plain: Any = model
    blocks = list(getattr(plain, "blocks", []))
    if not (is_plain(model) or any(isinstance(block, PrunedBlock) for block in blocks)):
        raise ExportError(
            f"{type(model).__name__}: its blocks are not those of a plain vision transformer, "
            "whose patches can be returned",
            fix="export without --patches",
        )
    if isinstance(blocks[-1], PrunedBlock):
        raise ExportError(
            "the last block leaves out patches (--prune), and its patches are asked for",
            fix="prune earlier blocks, or export without --patches",
        )
    left = min(
        [int(plain.patch_embed.num_patches)]
        + [block.count for block in blocks if isinstance(block, PrunedBlock)]
    )
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
