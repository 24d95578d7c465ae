"""Read ImageFolder zips into square uint8 canvases, and keep held-out classes out of training."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSet:
    """Square images with class labels.

    Attributes:
        images: uint8 ``(N, S, S, 3)``, RGB.
        labels: int64 ``(N,)``, index into ``classes``.
        classes: sorted class names.
    """

    images: Image
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


def list_classes(archive: Path, split: str) -> set[str]:
    """Return the class folders of one split; an empty folder entry counts as well."""
    with zipfile.ZipFile(archive) as zipped:
        parts = [PurePosixPath(name).parts for name in zipped.namelist()]
    return {p[1] for p in parts if len(p) >= 2 and p[0] == split}


def square(image: Image, side: int) -> Image:
    """Scale the short side to ``side`` and crop the centre.

    Args:
        image: uint8 ``(H, W, 3)``.
        side: pixels; ``INTER_AREA`` is used downwards, ``INTER_CUBIC`` upwards.

    Returns:
        uint8 ``(side, side, 3)``.
    """
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    if size != (width, height):
        image = np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return image[top : top + side, left : left + side]


def decode(data: bytes, side: int, name: str = "image") -> Image:
    """Decode JPEG, PNG or WebP bytes to an RGB square, uint8 ``(side, side, 3)``.

    Raises:
        ValueError: the bytes are no image that OpenCV reads.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{name}: not an image OpenCV can decode ({len(data)} bytes)")
    return square(np.ascontiguousarray(image[..., ::-1], dtype=np.uint8), side)


def load_split(
    archive: Path,
    split: str,
    side: int,
    exclude: Iterable[str] = (),
    limit: int | None = None,
    workers: int = 8,
) -> ImageSet:
    """Read one split of an ImageFolder zip.

    Args:
        archive: a zip laid out as ``<split>/<class>/<file>``.
        split: first-level folder.
        side: canvas size in pixels.
        exclude: class names to leave out.
        limit: at most this many images a class (smoke tests).
        workers: decoding threads.

    Raises:
        ValueError: nothing is left to read.
    """
    banned = set(exclude)
    with zipfile.ZipFile(archive) as zipped:
        by_class: dict[str, list[str]] = {}
        for name in sorted(zipped.namelist()):
            parts = PurePosixPath(name).parts
            if len(parts) == 3 and parts[0] == split and parts[1] not in banned:
                by_class.setdefault(parts[1], []).append(name)
        classes = tuple(sorted(by_class))
        names = [(i, n) for i, c in enumerate(classes) for n in by_class[c][:limit]]
        blobs = [zipped.read(name) for _, name in names]
    if not names:
        raise ValueError(f"{archive}: no images under {split}/ (excluded: {sorted(banned)})")
    with ThreadPoolExecutor(workers) as pool:
        images = list(pool.map(lambda b, n: decode(b, side, n[1]), blobs, names))
    labels = np.array([label for label, _ in names], dtype=np.int64)
    return ImageSet(np.stack(images), labels, classes)


def merge(sets: Iterable[ImageSet]) -> ImageSet:
    """Join image sets; a class name found in several sets stays one class."""
    sets = list(sets)
    classes = tuple(sorted({name for s in sets for name in s.classes}))
    index = {name: i for i, name in enumerate(classes)}
    labels = [np.array([index[s.classes[i]] for i in s.labels], dtype=np.int64) for s in sets]
    return ImageSet(np.concatenate([s.images for s in sets]), np.concatenate(labels), classes)


def load_training(
    archives: Iterable[Path],
    side: int,
    exclude: Iterable[str] = (),
    limit: int | None = None,
) -> list[ImageSet]:
    """Read the ``train`` split of each zip, without any class held out anywhere.

    The class folders under ``val`` and ``test`` of *every* zip are left out of *every* ``train``
    split: Tiny ImageNet's ``train`` holds classes that are Mini ImageNet's ``val`` or ``test``.
    A zip's own ``test`` names only ban classes of the other zips' ``train``; within one zip the
    splits are disjoint already.
    """
    archives = list(archives)
    banned = set(exclude)
    banned |= list_classes_of(archives, ("val", "test"))
    return [load_split(path, "train", side, banned, limit) for path in archives]


def list_classes_of(archives: Iterable[Path], splits: Iterable[str]) -> set[str]:
    """Return the class names found under any of ``splits`` in any of ``archives``."""
    splits = list(splits)
    return {name for path in archives for split in splits for name in list_classes(path, split)}
