"""Between normalised pixels and 8-bit images."""

from __future__ import annotations

import torch
from torch import Tensor

from vision_edge.runtime.images.preprocess import PreprocessSpec


def value_range(spec: PreprocessSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest normalised value of each channel: (1, 3, 1, 1) each."""
    mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
    return -mean / std, (1 - mean) / std


def to_images(pixels: Tensor, spec: PreprocessSpec) -> Tensor:
    """Turn normalised (N, 3, S, S) RGB into uint8 (N, S, S, 3) BGR, on the same device."""
    mean = torch.tensor(spec.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=pixels.device).view(1, 3, 1, 1)
    values = ((pixels.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return values.permute(0, 2, 3, 1).flip(-1).contiguous()
