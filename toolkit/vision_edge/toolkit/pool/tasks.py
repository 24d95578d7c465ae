"""Few-shot tasks from a synthetic pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.pool.pool import PoolPart

CACHE_BYTES = 4 << 30
"""Images kept in memory; what is beyond is read from the disk for each task."""


@dataclass(frozen=True)
class TaskShape:
    """Form of a task.

    Attributes:
        way: Classes, N.
        shot: Support images a class.
        query: Query images a class.
    """

    way: int = 5
    shot: int = 1
    query: int = 9

    @property
    def images(self) -> int:
        """Images a class."""
        return self.shot + self.query


@dataclass(frozen=True)
class SyntheticTask:
    """One N-way task of synthetic images.

    Attributes:
        parts: int64 (way,): which part of the pool each class comes from.
        rows: int64 (way, shot + query): its images there, the support first.
        teacher: float32 (way * query, way): the teacher's logits of the queries, or None where
            the classes come from several adapters, so that no teacher knows them all.
    """

    parts: NDArray[np.int64]
    rows: NDArray[np.int64]
    teacher: NDArray[np.float32] | None


@dataclass
class TaskSource:
    """Draws tasks from parts of a pool.

    Attributes:
        parts: The parts.
        shape: Form of the tasks.
        interpolation: Share of the tasks whose classes come from different adapters.
        window: Which share of each class's images is used, from where to where.

    Raises:
        DataError: If the parts hold too few classes or images.
    """

    parts: Sequence[PoolPart]
    shape: TaskShape
    interpolation: float
    window: tuple[float, float] = (0.0, 1.0)
    _rows: list[list[NDArray[np.int64]]] = field(init=False)

    def __post_init__(self) -> None:
        self._rows = [
            [
                _within(np.flatnonzero(part.labels == label), self.window)
                for label in range(part.way)
            ]
            for part in self.parts
        ]
        self._teachers = [i for i, part in enumerate(self.parts) if part.way >= self.shape.way]
        self._classes = [(i, k) for i, part in enumerate(self.parts) for k in range(part.way)]
        if len(self._classes) < self.shape.way:
            raise DataError(
                f"the pool has {len(self._classes)} class(es); tasks need {self.shape.way}",
                fix="give a hub whose adapters have more classes",
            )
        least = min(len(rows) for part in self._rows for rows in part)
        if least < self.shape.images:
            raise DataError(
                f"the pool has {least} images of a class; tasks need {self.shape.images}",
                fix="raise --per-class",
            )

    def draw(self, rng: np.random.Generator) -> SyntheticTask:
        """Draw a task."""
        across = len(self.parts) > 1 and rng.random() < self.interpolation
        if across or not self._teachers:
            chosen = rng.choice(len(self._classes), self.shape.way, replace=False)
            return self._task([self._classes[i] for i in chosen], rng, None)
        index = int(rng.choice(self._teachers))
        part = self.parts[index]
        classes = rng.choice(part.way, self.shape.way, replace=False)
        return self._task([(index, int(k)) for k in classes], rng, part)

    def _task(
        self, classes: list[tuple[int, int]], rng: np.random.Generator, teacher: PoolPart | None
    ) -> SyntheticTask:
        need = self.shape.images
        rows = np.stack([rng.permutation(self._rows[i][k])[:need] for i, k in classes])
        logits = None
        if teacher is not None:
            queries = rows[:, self.shape.shot :].reshape(-1)
            logits = teacher.logits[queries][:, [k for _, k in classes]]
        return SyntheticTask(np.array([i for i, _ in classes]), rows, logits)


def _within(rows: NDArray[np.int64], window: tuple[float, float]) -> NDArray[np.int64]:
    low, high = (round(share * len(rows)) for share in window)
    return rows[low:high]


class ImageStore:
    """A pool's images, in the device's memory as far as they fit.

    Args:
        parts: The parts.
        device: Where images are wanted.
        limit: Bytes that may be kept.
    """

    def __init__(
        self, parts: Sequence[PoolPart], device: torch.device, limit: int = CACHE_BYTES
    ) -> None:
        self.parts = parts
        self.device = device
        self._order = [torch.from_numpy(part.order).to(device) for part in parts]
        self._cached: dict[int, Tensor] = {}
        used = 0
        for index, part in enumerate(parts):
            images = part.images()
            used += images.nbytes
            if used > limit:
                break
            self._cached[index] = torch.from_numpy(images).to(device)

    def images(self, tasks: Sequence[SyntheticTask]) -> Tensor:
        """Return the tasks' images: uint8 (E * way * images, S, S, 3) BGR, task by task."""
        return torch.cat([self._of(i, rows) for i, rows in _classes(tasks)])

    def order(self, tasks: Sequence[SyntheticTask]) -> Tensor:
        """Return the order of importance of the patches of the same images: int16 (M, P)."""
        return torch.cat([self._order[i][torch.from_numpy(rows)] for i, rows in _classes(tasks)])

    def _of(self, index: int, rows: NDArray[np.int64]) -> Tensor:
        if index in self._cached:
            return self._cached[index][torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(self.parts[index].images(rows)).to(self.device)


def _classes(tasks: Sequence[SyntheticTask]) -> list[tuple[int, NDArray[np.int64]]]:
    return [
        (int(part), rows)
        for task in tasks
        for part, rows in zip(task.parts, task.rows, strict=True)
    ]
