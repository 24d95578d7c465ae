"""Several processes on one job, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is.

    Attributes:
        rank: From 0.
        world: How many there are.
        local: Which of them on this machine, from 0: the GPU to take.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this process's share of some work: every `world`-th item."""
        return list(items[self.rank :: self.world])

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, total in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(total.view_as(tensor))

    def wait(self) -> None:
        """Go on only when all processes have come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the other processes that `torchrun` started, if it did.

    Args:
        device: `"cpu"` (gloo) or a CUDA device (NCCL).

    Yields:
        Which process this is; one of one without `torchrun`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    local = int(os.environ["LOCAL_RANK"])
    if device.startswith("cuda"):
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), local)
    finally:
        dist.destroy_process_group()
