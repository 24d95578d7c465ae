"""Rolls and flips of images, and back: what LoRA Inversion shows its adapter in an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """The roll and flip of one adapter's images in every iteration.

    Attributes:
        down: int64 (iterations,): pixels rolled down.
        right: int64 (iterations,): pixels rolled to the right.
        flip: bool (iterations,): whether mirrored afterwards.
    """

    down: Tensor
    right: Tensor
    flip: Tensor

    @classmethod
    def draw(cls, generator: torch.Generator, iterations: int, size: int) -> Views:
        """Draw rolls of up to an eighth of the side, and flips, for all iterations."""
        most = size // 8
        rolls = torch.randint(-most, most + 1, (2, iterations), generator=generator)
        return cls(rolls[0], rolls[1], torch.rand(iterations, generator=generator) < 0.5)

    def at(self, step: int) -> tuple[int, int, bool]:
        """Return (down, right, flip) of one iteration."""
        return int(self.down[step]), int(self.right[step]), bool(self.flip[step])


def permutations(
    views: Sequence[tuple[int, int, bool]], size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return, for each adapter's (down, right, flip), where each pixel of the view comes from.

    Returns:
        int64 (G, S * S): index of the image's pixel for each of the view's, and the inverse.
    """
    down, right, flip = (torch.tensor(values, device=device) for values in zip(*views, strict=True))
    index = torch.arange(size, device=device)
    mirrored = torch.where(flip[:, None], size - 1 - index, index)  # (G, S)
    rows = (index - down[:, None]) % size
    columns = (mirrored - right[:, None]) % size
    there = rows[:, :, None] * size + columns[:, None, :]
    rows = (index + down[:, None]) % size
    columns = (index + right[:, None]) % size
    columns = torch.where(flip[:, None], size - 1 - columns, columns)
    back = rows[:, :, None] * size + columns[:, None, :]
    return there.flatten(1), back.flatten(1)


def permuted(x: Tensor, index: Tensor) -> Tensor:
    """Move the pixels of x (G * n, 3, S, S) as `index` (G, S * S) says, without a gradient."""
    groups, pixels = index.shape
    flat = x.detach().reshape(groups, -1, pixels)
    return flat.gather(2, index[:, None].expand_as(flat)).reshape(x.shape)
