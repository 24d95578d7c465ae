"""Pictures for int8 calibration and for the gate: folders, pools that `build` left, galleries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vision_edge.export.settings import ExportImages, LabelledImages
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import DataError
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.toolkit.data.dataset import Dataset, open_dataset, sample_images, sample_of
from vision_edge.toolkit.pool.pool import POOL_FILE, Pool

MAX_CALIBRATION = 256
MAX_LABELLED, MAX_PER_CLASS = 1000, 20
"""How many labelled images the gate looks at, and how many of one class."""
_SQLITE = b"SQLite format 3\0"


Tell = Callable[[str], None]
"""Takes what a user has to know: what was passed over."""


def _in_silence(line: str) -> None:
    """Tell nobody."""


def calibration_images(
    path: Path,
    limit: int = MAX_CALIBRATION,
    reading: Reading = AS_IT_SAYS,
    tell: Tell = _in_silence,
) -> ExportImages:
    """Return pictures to calibrate on.

    Args:
        path: A folder or zip of images, a pool that `build` left, or a gallery's file.
        limit: Most images to take; they are spread over what is there.
        reading: What the files do not say of their pixels.
        tell: Called with each line of what was passed over.

    Raises:
        DataError: If there are none.
        GalleryError: If the gallery is damaged.
        UnsaidError: If an image leaves open how it is to be read.
    """
    if (path / POOL_FILE).is_file():
        return ExportImages(_of_pool(path, limit), f"synthetic pool {path.name}", False)
    if path.is_file() and _starts_with(path, _SQLITE):
        return ExportImages(_of_gallery(path, limit), f"snapshots of {path.name}")
    return ExportImages(told_images(path, limit, reading, tell), f"images of {path.name}")


def told_images(path: Path, limit: int, reading: Reading, tell: Tell) -> list[Image]:
    """Return up to `limit` images of a folder or zip, and tell what was passed over.

    Raises:
        DataError: If there are none.
        UnsaidError: If an image leaves open how it is to be read.
    """
    images, data = sample_images(sample_of(path, limit, reading=reading))
    for line in data.found.lines():
        tell(f"{path}: {line}")
    return images


def gate_data(
    path: Path,
    split: str | None,
    spec: PreprocessSpec,
    reading: Reading = AS_IT_SAYS,
    tell: Tell = _in_silence,
) -> LabelledImages:
    """Return labelled images for the gate's episodes: some of each class, by a fixed draw.

    Args:
        path: A folder or zip with class/image or split/class/image.
        split: First-level folder; `test` where there are splits and None is given.
        spec: How images are prepared.
        reading: What the files do not say of their pixels.
        tell: Called with each line of what was passed over.

    Raises:
        DataError: If fewer than two classes have two images, or no image of a class can be read.
        UnsaidError: If an image leaves open how it is to be read.
    """
    data = _few_of_each(open_dataset(path, split, default="test", reading=reading)).readable()
    for line in data.found.lines():
        tell(f"{path}: {line}")
    return LabelledImages(data.prepared(spec), data.labels, data.name)


def _few_of_each(data: Dataset) -> Dataset:
    rng = np.random.default_rng(0)
    members = [rng.permutation(rows) for rows in data.by_class() if len(rows) >= 2]
    if len(members) < 2:
        raise DataError(
            f"{data.name}: episodes need two classes of two images each",
            fix="give --gate-data more images, or leave it out",
        )
    per_class = min(MAX_PER_CLASS, max(2, MAX_LABELLED // len(members)))
    chosen = [np.sort(rows[:per_class]) for rows in members[: MAX_LABELLED // 2]]
    rows = np.concatenate(chosen)
    return replace(data, files=tuple(data.files[i] for i in rows), labels=data.labels[rows])


def _of_pool(folder: Path, limit: int) -> list[Image]:
    parts = Pool(folder, {}).parts()
    if not parts:
        raise DataError(f"{folder}: the pool is empty", fix="let `vision-edge build` finish")
    rng = np.random.default_rng(0)
    share = -(-limit // len(parts))
    images: list[Image] = []
    for part in parts:
        rows = np.sort(rng.permutation(len(part.labels))[:share])
        images.extend(part.images(rows))
    return images[:limit]


def _of_gallery(path: Path, limit: int) -> list[Image]:
    with GalleryReader(path) as gallery:
        numbers = sorted({number for ids in gallery.state().values() for number in ids})
        if not numbers:
            raise DataError(
                f"{path}: no product is registered", fix="register some, or give images"
            )
        chosen = np.linspace(0, len(numbers) - 1, min(limit, len(numbers))).astype(int)
        return [gallery.snapshots.image(numbers[i]) for i in chosen]


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
