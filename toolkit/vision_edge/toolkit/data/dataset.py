"""Labelled images: an ImageFolder directory, or a zip of one, read in place."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import DataError, ImageError
from vision_edge.runtime.images.coding import decode_image, read_image
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.sources.frame import IMAGE_SUFFIXES

SPLITS = frozenset({"train", "val", "valid", "validation", "test"})


@dataclass(frozen=True)
class Dataset:
    """Images by class.

    Attributes:
        name: What a user calls it.
        root: The folder or zip file.
        classes: Class names, sorted.
        files: Each image's path inside `root`, sorted by class.
        labels: int64 (N,): each image's class, as an index into `classes`.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)

    def images(self, indices: Sequence[int] | None = None) -> Iterator[Image]:
        """Yield images, uint8 (H, W, 3) BGR, in the order of `indices` (default: all).

        Raises:
            ImageError: If one is unreadable; the message names it.
        """
        chosen = range(len(self)) if indices is None else indices
        if self.root.is_dir():
            for index in chosen:
                yield read_image(self.root / self.files[index])
            return
        with zipfile.ZipFile(self.root) as archive:
            for index in chosen:
                yield _from_zip(archive, self.root, self.files[index])

    def prepared(self, spec: PreprocessSpec, indices: Sequence[int] | None = None) -> Image:
        """Return images as a model takes them: uint8 (N, S, S, 3), BGR."""
        count = len(self) if indices is None else len(indices)
        stacked = np.empty((count, spec.size, spec.size, 3), np.uint8)
        for row, image in enumerate(self.images(indices)):
            stacked[row] = prepare(image, spec)
        return stacked

    def by_class(self) -> list[NDArray[np.int64]]:
        """Return, for each class, the indices of its images."""
        return [np.flatnonzero(self.labels == label) for label in range(len(self.classes))]


def open_dataset(path: Path | str, split: str | None = None, default: str | None = None) -> Dataset:
    """Open labelled images.

    Args:
        path: A folder, or a zip file, laid out as `class/image` or `split/class/image`.
        split: The first-level folder to use.
        default: The split to use where there are splits and none was asked for.

    Returns:
        The data set of that split.

    Raises:
        DataError: If there is nothing there, no such split, or no images.
    """
    root = Path(path)
    paths = _listing(root)
    first = {parts[0] for parts in paths if len(parts) > 1}
    has_splits = bool(first & SPLITS) and all(
        len(parts) >= 3 for parts in paths if parts[0] in SPLITS
    )
    wanted = split or (default if has_splits else None)
    if wanted is not None:
        if wanted not in first:
            raise DataError(
                f"{root}: there is no split {wanted!r}",
                fix=f"use --split with one of: {', '.join(sorted(first)[:8])}",
            )
        paths = [parts for parts in paths if parts[0] == wanted]
    depth = 1 if wanted is not None else 0
    labelled = sorted((parts[depth], "/".join(parts)) for parts in paths if len(parts) >= depth + 2)
    if not labelled:
        raise DataError(
            f"{root}: no images in class folders",
            fix="lay it out as class/image or split/class/image",
        )
    classes = tuple(sorted({label for label, _ in labelled}))
    position = {label: index for index, label in enumerate(classes)}
    name = root.stem if wanted is None else f"{root.stem}/{wanted}"
    labels = np.array([position[label] for label, _ in labelled], dtype=np.int64)
    return Dataset(name, root, classes, tuple(file for _, file in labelled), labels)


def _listing(root: Path) -> list[tuple[str, ...]]:
    """Return the parts of each image's path below the root."""
    if root.is_dir():
        files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        paths = [PurePosixPath(file.as_posix()) for file in files]
    elif zipfile.is_zipfile(root):
        try:
            with zipfile.ZipFile(root) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise DataError(f"{root}: a damaged zip file ({error})", fix="copy it again") from error
        paths = [PurePosixPath(name) for name in names if not name.endswith("/")]
    elif root.exists():
        raise DataError(f"{root}: not a folder and not an intact zip file", fix="give one of them")
    else:
        raise DataError(f"{root}: there is no such folder or zip file", fix="check the path")
    return [
        path.parts for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not _hidden(path)
    ]


def _hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _from_zip(archive: zipfile.ZipFile, root: Path, file: str) -> Image:
    try:
        data = archive.read(file)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ImageError(
            f"{root}: {file}: cannot be read ({error})", fix="copy it again"
        ) from error
    return decode_image(data, f"{root}: {file}")


def images_of(path: Path | str, limit: int, seed: int = 0) -> list[Image]:
    """Return up to `limit` images of a folder or zip, spread over it, whatever its layout.

    Raises:
        DataError: If there are none.
        ImageError: If one is unreadable.
    """
    root = Path(path)
    files = tuple("/".join(parts) for parts in sorted(_listing(root)))
    if not files:
        raise DataError(f"{root}: no images here", fix="give a folder or zip with images")
    order = np.random.default_rng(seed).permutation(len(files))[:limit]
    everything = Dataset(root.stem, root, (), files, np.zeros(len(files), np.int64))
    return list(everything.images(sorted(int(index) for index in order)))
