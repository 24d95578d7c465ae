"""The model as devices run it: uint8 BGR frames in, float32 embeddings out."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from vision_edge.export.model.embedder import embed_normalised
from vision_edge.export.model.patch_tokens import PatchOutput, centred, tokens_and_patches
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.preprocess import PreprocessSpec


class EdgeModel(nn.Module):
    """A vision transformer with colour order, scaling and normalisation inside.

    All three are linear, so they are folded into the patch embedding and cost nothing:
    `w · ((x / 255 - mean) / std) + b` is a convolution of the raw pixels with
    `w / (255 std)` and the bias `b - sum(w mean / std)`; its input channels are put in BGR order.

    Args:
        model: A timm vision transformer; it is copied, not changed.
        spec: Its preprocessing.
        patches: The second output, where it is wanted.

    Raises:
        ExportError: If the patch embedding is not one unpadded convolution of three channels.
    """

    def __init__(
        self, model: nn.Module, spec: PreprocessSpec, patches: PatchOutput | None = None
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.model.patch_embed.proj = _folded(_patch_convolution(self.model), spec)  # type: ignore[union-attr]
        self.patches = patches
        mean = np.zeros(1, np.float32) if patches is None else patches.mean
        self.register_buffer("mean_token", torch.from_numpy(mean))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Embed uint8 (N, S, S, 3) BGR as float32 (N, D), with patches (N, T, D) where asked for.

        The cast comes first: TensorRT's parser refuses other operations on uint8.
        """
        pixels = images.float().permute(0, 3, 1, 2)
        if self.patches is None:
            return embed_normalised(self.model, pixels)
        tokens, patches = tokens_and_patches(self.model, pixels, self.patches.count)
        return tokens, centred(patches, self.mean_token)  # type: ignore[arg-type]


def _patch_convolution(model: nn.Module) -> nn.Conv2d:
    convolution = getattr(getattr(model, "patch_embed", None), "proj", None)
    if (
        not isinstance(convolution, nn.Conv2d)
        or convolution.in_channels != 3
        or convolution.padding not in ((0, 0), "valid")
    ):
        raise ExportError(
            f"{type(model).__name__}: the patch embedding is not one unpadded convolution of "
            f"three channels, got {convolution}",
            fix="use a plain timm vision transformer",
        )
    return convolution


def _folded(convolution: nn.Conv2d, spec: PreprocessSpec) -> nn.Conv2d:
    """Return the convolution that takes raw BGR pixels, 0 to 255; folded in float64."""
    mean = torch.tensor(spec.mean, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float64).view(1, 3, 1, 1)
    weight = convolution.weight.detach().double()  # (D, 3, P, P), RGB
    bias = -(weight * mean / std).sum(dim=(1, 2, 3))
    if convolution.bias is not None:
        bias += convolution.bias.detach().double()
    folded = nn.Conv2d(3, convolution.out_channels, convolution.kernel_size, convolution.stride)  # type: ignore[arg-type]
    with torch.no_grad():
        folded.weight.copy_((weight / (255.0 * std)).flip(1).float())
        folded.bias.copy_(bias.float())  # type: ignore[union-attr]
    return folded
