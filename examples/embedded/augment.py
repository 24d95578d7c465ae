"""Batched augmentation on the device that holds the images.

The student and its teacher see the *same* crop, colours and mixture of every image, as in
Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (CVPR 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Policy:
    """How strongly images are changed.

    Attributes:
        area: smallest and largest share of the image that a crop covers.
        colour: share of crops with changed colours.
        grey: share of crops without colour.
        blur: share of crops that are blurred.
        mixup: share of crops blended with another crop.
        cutmix: share of crops with a rectangle pasted from another crop.
    """

    area: tuple[float, float] = (0.3, 1.0)
    colour: float = 0.5
    grey: float = 0.12
    blur: float = 0.1
    mixup: float = 0.25
    cutmix: float = 0.15


PLAIN = Policy((0.6, 1.0), colour=0, grey=0, blur=0, mixup=0, cutmix=0)


def uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    """Draw float32 ``(count,)`` uniformly from ``[low, high)``."""
    return torch.rand(count, device=device) * (high - low) + low


def chance(count: int, share: float, device: torch.device) -> Tensor:
    """Draw bool ``(count,)``, true with probability ``share``."""
    return torch.rand(count, device=device) < share


def cubic(distance: Tensor) -> Tensor:
    """Evaluate the cubic convolution kernel (a = -0.5), zero from a distance of 2 on."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def crop_matrices(low: Tensor, high: Tensor, source: int, target: int) -> Tensor:
    """Return matrices that cut ``[low, high)`` of one axis and resize it, antialiased.

    Args:
        low: float32 ``(B,)``, start in source pixels; larger than ``high`` mirrors the axis.
        high: float32 ``(B,)``, end.
        source: pixels of the axis.
        target: pixels wanted.

    Returns:
        float32 ``(B, target, source)``; the rows sum to 1.
    """
    step = ((high - low) / target)[:, None, None]
    line = torch.arange(max(source, target), device=low.device) + 0.5
    centres = low[:, None, None] + step * line[:target, None]
    weights = cubic((centres - line[:source]) / step.abs().clamp(min=1))
    return weights / weights.sum(dim=2, keepdim=True)


def resize_matrix(source: int, target: int, mode: str = "area") -> Tensor:
    """Return the ``(target, source)`` matrix that resizes one axis by ``area`` or ``cubic``."""
    if mode == "cubic":
        ends = torch.zeros(1), torch.full((1,), float(source))
        return crop_matrices(*ends, source, target)[0]
    identity = torch.eye(source)[:, None]  # (source, 1, source)
    return F.interpolate(identity, target, mode=mode)[:, 0].T.contiguous()


def resize(images: Tensor, matrix: Tensor) -> Tensor:
    """Resize ``(B, C, S, S)`` to ``(B, C, T, T)`` by a ``(T, S)`` matrix."""
    matrix = matrix.to(images)
    return matrix @ images @ matrix.T


def crop(images: Tensor, size: int, policy: Policy) -> Tensor:
    """Cut random boxes, half of them mirrored, out of uint8 ``(B, 3, S, S)`` images.

    Two batched matrix products do it, far faster on a GPU than gathering pixels. The result is
    ``(B, 3, size, size)`` in [0, 1], float16 on a GPU and float32 elsewhere.
    """
    count, source, device = len(images), images.shape[-1], images.device
    area = uniform(count, *policy.area, device)
    ratio = torch.exp(uniform(count, -math.log(4 / 3), math.log(4 / 3), device))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    left = (1 - width) * torch.rand(count, device=device)
    top = (1 - height) * torch.rand(count, device=device)
    mirror = chance(count, 0.5, device)
    ends = torch.where(mirror, left + width, left), torch.where(mirror, left, left + width)
    across = crop_matrices(ends[0] * source, ends[1] * source, source, size)
    down = crop_matrices(top * source, (top + height) * source, source, size)
    kind = torch.float16 if images.is_cuda else torch.float32
    pixels = images.to(kind) / 255
    return (down[:, None].to(kind) @ pixels @ across.mT[:, None].to(kind)).clamp_(0, 1)


def recolour(views: Tensor, policy: Policy) -> Tensor:
    """Change brightness, contrast, saturation, channel gains and gamma; ``(B, 3, S, S)``."""
    count, device = len(views), views.device
    on = chance(count, policy.colour, device).to(views)

    def amount(spread: float) -> Tensor:
        return (1 + on * uniform(count, -spread, spread, device).to(views)).view(-1, 1, 1, 1)

    colour = amount(0.5) * (~chance(count, policy.grey, device)).to(views).view(-1, 1, 1, 1)
    red, green, blue = (views[:, i : i + 1] * share for i, share in enumerate(LUMA))
    luma = red + green + blue
    gain = torch.cat([amount(0.15) for _ in range(3)], dim=1)  # (B, 3, 1, 1)
    views = torch.lerp(luma, views * gain, colour)
    centre = luma.mean(dim=(2, 3), keepdim=True)
    views = (views - centre) * amount(0.4) + centre * amount(0.4)
    return views.clamp_(1e-4, 1) ** amount(0.3)


def blur(views: Tensor, policy: Policy) -> Tensor:
    """Replace the first views by low-resolution versions of themselves; ``(B, 3, S, S)``."""
    part, side = round(policy.blur * len(views) / 2), views.shape[-1]
    for i, factor in enumerate((2, 4)):
        if part:
            chosen = slice(i * part, (i + 1) * part)
            small = F.avg_pool2d(views[chosen], factor)
            views[chosen] = F.interpolate(small, (side, side), mode="bilinear")
    return views


def mix(views: Tensor, policy: Policy) -> Tensor:
    """Blend some views with their neighbour in the batch (mixup) or paste a box of it (CutMix)."""
    count, side, device = len(views), views.shape[-1], views.device
    kind = torch.rand(count, device=device)
    blend = torch.where(
        kind < policy.mixup, torch.rand(count, device=device), torch.ones_like(kind)
    )
    axis = torch.arange(side, device=device) / side
    half = 0.5 * torch.rand(count, device=device).sqrt()[:, None]
    across = (axis - torch.rand(count, 1, device=device)).abs() < half  # (B, S)
    down = (axis - torch.rand(count, 1, device=device)).abs() < half
    boxed = kind > 1 - policy.cutmix
    keep = ~(across[:, None, :] & down[:, :, None] & boxed[:, None, None])
    weight = (blend.view(-1, 1, 1, 1) * keep[:, None]).to(views)
    return torch.lerp(views.roll(1, 0), views, weight)


def augment(images: Tensor, size: int, policy: Policy) -> Tensor:
    """Turn uint8 ``(B, 3, S, S)`` into augmented views ``(B, 3, size, size)`` in [-1, 1]."""
    views = crop(images, size, policy)
    if policy.colour or policy.grey:
        views = recolour(views, policy)
    if policy.blur:
        views = blur(views, policy)
    if policy.mixup or policy.cutmix:
        views = mix(views, policy)
    return views * 2 - 1
