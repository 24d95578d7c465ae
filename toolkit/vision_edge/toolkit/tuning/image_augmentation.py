"""Augmentation of a whole batch at once, on whatever device it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crop_flip(
    pixels: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.5, 1.0),
    flip: bool = True,
) -> Tensor:
    """Crop each image at random, resize it back, and flip half of them left to right.

    Args:
        pixels: float (N, 3, S, S).
        generator: Source of randomness, on the CPU.
        scale: Range of the cropped area's share.
        flip: Whether to flip.

    Returns:
        (N, 3, S, S), of the same dtype and device.
    """
    count = len(pixels)
    low, high = scale
    area = torch.rand(count, generator=generator) * (high - low) + low
    ratio = torch.exp((torch.rand(count, generator=generator) - 0.5) * 0.5)  # 0.78 to 1.28
    width = (area * ratio).sqrt().clamp(max=1.0)
    height = (area / ratio).sqrt().clamp(max=1.0)
    left = (torch.rand(count, generator=generator) * 2 - 1) * (1 - width)
    top = (torch.rand(count, generator=generator) * 2 - 1) * (1 - height)
    sign = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = width * (sign if flip else 1.0)
    theta[:, 0, 2] = left
    theta[:, 1, 1] = height
    theta[:, 1, 2] = top
    grid = F.affine_grid(theta.to(pixels), list(pixels.shape), align_corners=False)
    return F.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
