"""Images made by code: coloured noise, warped gratings, dead leaves, and grey surfaces with marks.

They widen the domain in which a student copies its teacher, most of all towards industrial
textures, of which the photographs hold few. See Baradad et al., "Learning to See by Looking at
Noise" (NeurIPS 2021) for what such images teach.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from augment import chance, uniform
from torch import Tensor


def _column(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return uniform(count, low, high, device).view(-1, 1, 1, 1)


def axes(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the x and y coordinates of a grid, float32 ``(1, 1, side, side)`` in [-1, 1]."""
    line = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x[None, None], y[None, None]


def turned(count: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return coordinates turned by one random angle an image, ``(count, 1, side, side)``."""
    x, y = axes(side, device)
    angle = _column(count, 0, math.pi, device)
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def noise(count: int, side: int, device: torch.device, channels: int = 3) -> Tensor:
    """Make ``1/f^a`` noise, stretched in a random direction; zero mean, unit variance."""
    u, v = turned(count, side, device)
    stretch = torch.exp(_column(count, -1.2, 1.2, device))
    radius = ((u * stretch) ** 2 + (v / stretch) ** 2).sqrt().clamp(min=1 / side)
    spectrum = radius ** -_column(count, 0.3, 2.5, device)
    white = torch.randn(count, channels, side, side, device=device)
    shifted = torch.fft.ifftshift(spectrum, dim=(-2, -1))
    field: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * shifted).real
    field = field - field.mean(dim=(-2, -1), keepdim=True)
    deviation: Tensor = field.std(dim=(-2, -1), keepdim=True)
    return field / deviation.clamp(min=1e-6)


def tint(field: Tensor) -> Tensor:
    """Map a zero-mean ``(B, C, S, S)`` field to random colours, ``(B, 3, S, S)`` in [0, 1]."""
    count, device = len(field), field.device
    strength = torch.exp(_column(count, -3.0, -0.8, device))
    mixing = torch.randn(count, 3, field.shape[1], device=device)
    shared = torch.randn(count, 1, field.shape[1], device=device)
    mixing = torch.lerp(
        shared.expand_as(mixing), mixing, uniform(count, 0, 1, device).view(-1, 1, 1)
    )
    base = torch.rand(count, 3, 1, 1, device=device) * 0.8 + 0.1
    return (base + strength * torch.einsum("bkc,bchw->bkhw", mixing, field)).clamp(0, 1)


def clouds(count: int, side: int, device: torch.device) -> Tensor:
    """Coloured noise; half of it folded into marble-like bands."""
    field = noise(count, side, device)
    bands = torch.sin(field * torch.exp(_column(count, 0, 2, device)))
    return tint(torch.where(_column(count, 0, 1, device) < 0.5, field, bands))


def gratings(count: int, side: int, device: torch.device) -> Tensor:
    """Sums of stripes, checks and rings, warped by noise."""
    total = torch.zeros(count, 1, side, side, device=device)
    warp = noise(count, side, device, 1) * torch.exp(_column(count, -5, -1.5, device))
    for _ in range(3):
        u, v = turned(count, side, device)
        ring = ((u - 0.5) ** 2 + v**2).sqrt()
        coordinate = torch.where(_column(count, 0, 1, device) < 0.2, ring, u) + warp
        frequency = torch.exp(_column(count, 1.2, 4.2, device))
        wave = torch.sin(coordinate * frequency + _column(count, 0, 6.3, device))
        hard = torch.tanh(wave * torch.exp(_column(count, -1, 2.5, device)))
        total = total + hard * (_column(count, 0, 1, device) < 0.6)
    grain = noise(count, side, device, 2) * _column(count, 0, 0.5, device)
    return tint(torch.cat([total, grain], dim=1))


def stamp(
    images: Tensor, marks: int, size: tuple[float, float], thin: float, contrast: float
) -> Tensor:
    """Paste random superellipses (stars, diamonds, ellipses, boxes), front ones over back ones.

    Args:
        images: ``(B, 3, S, S)``; also the pool from which fillings are taken.
        marks: shapes an image.
        size: smallest and largest radius; the image spans [-1, 1].
        thin: logarithm of the largest ratio of the two radii.
        contrast: 1 fills with another texture; smaller values only lighten or darken.
    """
    count, side, device = len(images), images.shape[-1], images.device
    x, y = axes(side, device)
    pool = images
    for _ in range(marks):
        angle = _column(count, 0, math.pi, device)
        dx, dy = x - _column(count, -1.1, 1.1, device), y - _column(count, -1.1, 1.1, device)
        radius = torch.exp(_column(count, math.log(size[0]), math.log(size[1]), device))
        aspect = torch.exp(_column(count, 0, thin, device))
        u = (dx * angle.cos() + dy * angle.sin()).abs() / radius
        v = (dy * angle.cos() - dx * angle.sin()).abs() * aspect / radius
        power = torch.exp(_column(count, -0.3, 2, device))
        mask = ((1 - (u**power + v**power)) * 12).clamp(0, 1)
        filling = pool.roll(int(torch.randint(count, ())), 0).flip(-1)
        shade = filling - filling.mean(dim=(1, 2, 3), keepdim=True) + _column(count, 0, 1, device)
        images = torch.lerp(images, torch.lerp(images, shade, contrast), mask)
    return images.clamp(0, 1)


def leaves(count: int, side: int, device: torch.device) -> Tensor:
    """Dead leaves: overlapping shapes filled with textures."""
    half = count // 2
    pool = torch.cat([clouds(half, side, device), gratings(count - half, side, device)])
    return stamp(pool, int(torch.randint(4, 40, ())), (0.08, 0.8), 1.2, 1.0)


def surfaces(count: int, side: int, device: torch.device) -> Tensor:
    """Grey surfaces under uneven light, with scratches, pits and patches."""
    u, _ = turned(count, side, device)
    light = _column(count, 0.25, 0.75, device) + u * _column(count, -0.2, 0.2, device)
    grain = noise(count, side, device, 1) * torch.exp(_column(count, -4.5, -1.5, device))
    patch = torch.sigmoid(noise(count, side, device, 1) * 4 - _column(count, 2, 7, device))
    image = light + grain + patch * _column(count, -0.4, 0.4, device)
    image = image.clamp(0, 1).expand(-1, 3, -1, -1)
    image = stamp(image, int(torch.randint(0, 6, ())), (0.1, 1.2), 4.0, 0.5)  # scratches
    image = stamp(image, int(torch.randint(0, 16, ())), (0.02, 0.2), 0.8, 0.5)  # pits
    return (image + 0.02 * torch.randn_like(image[:, :1])).clamp(0, 1)


KINDS: tuple[Callable[[int, int, torch.device], Tensor], ...] = (
    clouds,
    gratings,
    leaves,
    leaves,
    surfaces,
    surfaces,
)


@torch.no_grad()
def image_bank(count: int, side: int, device: torch.device, batch: int = 256) -> Tensor:
    """Make ``count`` images, uint8 ``(count, 3, side, side)``, equally many of each kind."""
    parts, made = [], 0
    while made < count:
        kind = KINDS[(made // batch) % len(KINDS)]
        size = min(batch, count - made)
        images = kind(size, side, device)
        flip = chance(size, 0.1, device).view(-1, 1, 1, 1)
        images = torch.where(flip, 1 - images, images)
        parts.append((images * 255).round().to(torch.uint8))
        made += size
    return torch.cat(parts)
