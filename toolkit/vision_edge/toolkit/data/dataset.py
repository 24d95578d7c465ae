"""Labelled images: an ImageFolder directory, or a zip of one, read in place."""

from __future__ import annotations

import copy
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import DataError, ImageError, UnsaidError
from vision_edge.runtime.images.coding import decode_image, read_image
from vision_edge.runtime.images.picture_files import PictureFiles, pictures_below, zip_entries
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.toolkit.data.layout import Layout, laid_out

EVERY = 1 << 40
"""More images than there are: the limit of a sample that is all of them."""
OnBad = Callable[[int, ImageError], None]
"""Takes the index and the error of an image that cannot be read."""


@dataclass(frozen=True)
class Dataset:
    """Images by class.

    Attributes:
        name: What a user calls it.
        root: The folder or zip file.
        classes: Class names, sorted.
        files: Each image's path inside `root`, sorted by class.
        labels: int64 (N,): each image's class, as an index into `classes`.
        reading: What the files do not say of their pixels.
        found: What was passed over, and what was taken although its name says otherwise.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    reading: Reading = AS_IT_SAYS
    found: PictureFiles = field(default_factory=lambda: PictureFiles(()))

    def __len__(self) -> int:
        return len(self.files)

    def images(
        self, indices: Sequence[int] | None = None, on_bad: OnBad | None = None
    ) -> Iterator[Image]:
        """Yield images, uint8 (H, W, 3) BGR, in the order of `indices` (default: all).

        Args:
            indices: Which.
            on_bad: Called with the index and the error of each that is unreadable, which is left
                out then.

        Raises:
            ImageError: If one is unreadable and there is no `on_bad`; the message names it.
            UnsaidError: If one leaves open how it is to be read, `on_bad` or not.
        """
        chosen = range(len(self)) if indices is None else indices
        with nullcontext() if self.root.is_dir() else zipfile.ZipFile(self.root) as archive:
            entries = {} if archive is None else zip_entries(archive)
            for index in chosen:
                image = self._image(index, archive, entries, on_bad)
                if image is not None:
                    yield image

    def readable(self) -> Dataset:
        """Read every image, and return the data set without those that cannot be read.

        Raises:
            DataError: If a class would be left without images.
            UnsaidError: If an image leaves open how it is to be read.
        """
        bad: dict[int, ImageError] = {}
        for _ in self.images(on_bad=bad.__setitem__):
            pass
        return self.without(bad)

    def without(self, bad: Mapping[int, ImageError]) -> Dataset:
        """Return the data set without unreadable images, which count as passed over.

        Args:
            bad: The errors of the images to leave out, by index.

        Raises:
            DataError: If a class would be left without images.
        """
        if not bad:
            return self
        found = copy.deepcopy(self.found)
        for index, error in bad.items():
            found.passed_over.add(error.kind, self.files[index])
        kept = [index for index in range(len(self)) if index not in bad]
        for label in sorted(set(self.labels.tolist()) - set(self.labels[kept].tolist())):
            first = next(error for index, error in bad.items() if self.labels[index] == label)
            where = f" of class {self.classes[label]!r}" if self.classes else ""
            raise DataError(
                f"{self.name}: no image{where} can be read; {first.what}", fix=first.fix
            )
        files = tuple(self.files[index] for index in kept)
        return replace(self, files=files, labels=self.labels[kept], found=found)

    def _image(
        self,
        index: int,
        archive: zipfile.ZipFile | None,
        entries: Mapping[str, zipfile.ZipInfo],
        on_bad: OnBad | None,
    ) -> Image | None:
        file = self.files[index]
        try:
            if archive is None:
                return read_image(self.root / file, self.reading)
            return _from_zip(archive, entries[file], f"{self.root}: {file}", self.reading)
        except ImageError as error:
            if on_bad is None or isinstance(error, UnsaidError):
                raise
            on_bad(index, error)
            return None

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


def open_dataset(
    path: Path | str,
    split: str | None = None,
    default: str | None = None,
    reading: Reading = AS_IT_SAYS,
) -> Dataset:
    """Open labelled images.

    Args:
        path: A folder, or a zip file, laid out as `class/image` or `split/class/image`;
            folders around all of it are looked through.
        split: The first-level folder to use.
        default: The split to use where there are splits and none was asked for.
        reading: What the files do not say of their pixels.

    Returns:
        The data set of that split; its `found` says what was passed over.

    Raises:
        DataError: If there is nothing there, no such split, or no images; or if it is laid out to
            find anomalies.
    """
    root = Path(path)
    found = pictures_below(root)
    paths = [tuple(file.split("/")) for file in found.files]
    if not paths:
        raise DataError(
            f"{root}: no images in class folders" + "".join(f"; {line}" for line in found.lines()),
            fix="lay it out as class/image or split/class/image",
        )
    layout = laid_out(root, paths, split, default)
    _note(layout, found)
    classes = tuple(sorted({label for label, _ in layout.labelled}))
    position = {label: index for index, label in enumerate(classes)}
    name = root.stem if layout.split is None else f"{root.stem}/{layout.split}"
    labels = np.array([position[label] for label, _ in layout.labelled], dtype=np.int64)
    files = tuple("/".join(parts) for _, parts in layout.labelled)
    return Dataset(name, root, classes, files, labels, reading, found)


def _note(layout: Layout, found: PictureFiles) -> None:
    """Add to what was found how it was laid out."""
    for folder in layout.wrapped:
        found.notes.add("folder around everything, looked through", folder)
    for parts in layout.folded:
        kind = "folder below a class, folded into it, since classes are the first level"
        found.notes.add(kind, "/".join(parts))
    for parts in layout.loose:
        found.passed_over.add("picture in no class's folder", "/".join(parts))


def _from_zip(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, reading: Reading
) -> Image:
    try:
        data = archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ImageError(
            f"{name}: cannot be read ({error})", fix="copy it again", kind="damaged in the zip"
        ) from error
    return decode_image(data, name, reading)


def sample_of(
    path: Path | str, limit: int, seed: int = 0, reading: Reading = AS_IT_SAYS
) -> Dataset:
    """Choose up to `limit` images of a folder or zip, spread over it, whatever its layout.

    Returns:
        The images as one data set without classes; its `found` says what was passed over.

    Raises:
        DataError: If there are none.
    """
    root = Path(path)
    found = pictures_below(root)
    if not found.files:
        told = "".join(f"; {line}" for line in found.lines())
        raise DataError(f"{root}: no images here{told}", fix="give a folder or zip with images")
    order = np.random.default_rng(seed).permutation(len(found.files))[:limit]
    files = tuple(found.files[index] for index in sorted(order))
    return Dataset(root.stem, root, (), files, np.zeros(len(files), np.int64), reading, found)


def images_of(
    path: Path | str, limit: int, seed: int = 0, reading: Reading = AS_IT_SAYS
) -> list[Image]:
    """Return the images that `sample_of` chooses, without those that cannot be read.

    Raises:
        DataError: If there are none.
    """
    return sample_images(sample_of(path, limit, seed, reading))[0]


def sample_images(sample: Dataset) -> tuple[list[Image], Dataset]:
    """Return the images of a sample, and the sample without those that cannot be read.

    Raises:
        DataError: If none can be read.
        UnsaidError: If an image leaves open how it is to be read.
    """
    bad: dict[int, ImageError] = {}
    images = list(sample.images(on_bad=bad.__setitem__))
    return images, sample.without(bad)
