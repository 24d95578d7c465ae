import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from support.toolkit import class_folders, image_of, refusal

from vision_edge.runtime.errors import DataError, ImageError, UnsaidError
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.images.reading import Reading
from vision_edge.toolkit.data.dataset import (
    EVERY,
    Dataset,
    images_of,
    open_dataset,
    sample_images,
    sample_of,
)


def _zipped(root: Path, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root).as_posix())
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_its_folder(tmp_path: Path, image_folder: Path, compression: int) -> None:
    archive = _zipped(image_folder, tmp_path / "images.zip", compression)
    folder, zipped = open_dataset(image_folder, "train"), open_dataset(archive, "train")
    assert (folder.classes, folder.files) == (zipped.classes, zipped.files)
    np.testing.assert_array_equal(folder.labels, zipped.labels)
    for left, right in zip(folder.images(), zipped.images(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_labels_and_pixels_are_those_of_the_folders(image_folder: Path) -> None:
    data = open_dataset(image_folder, "test")
    assert data.classes == ("k03", "k04", "k05")
    assert (len(data), data.labels.dtype) == (24, np.int64)
    for label, file, image in zip(data.labels, data.files, data.images(), strict=True):
        split, name, index = file.removesuffix(".png").split("/")
        assert (split, name) == ("test", data.classes[label])
        np.testing.assert_array_equal(image, image_of(int(name[1:]), int(index)))
    assert [len(rows) for rows in data.by_class()] == [8, 8, 8]
    assert all((data.labels[rows] == c).all() for c, rows in enumerate(data.by_class()))


def test_images_come_in_the_order_asked_for(image_folder: Path) -> None:
    data = open_dataset(image_folder, "train")
    spec = PreprocessSpec(size=16)
    everything = data.prepared(spec)
    assert everything.shape == (32, 16, 16, 3)
    np.testing.assert_array_equal(data.prepared(spec, [9, 2, 2]), everything[[9, 2, 2]])
    np.testing.assert_array_equal(everything[9], prepare(next(data.images([9])), spec))


@pytest.mark.parametrize(
    ("split", "default", "classes", "name"),
    [
        (None, "test", ("k03", "k04", "k05"), "/test"),
        (None, "train", ("k00", "k01", "k02", "k03"), "/train"),
        ("train", "test", ("k00", "k01", "k02", "k03"), "/train"),
        (None, None, ("test", "train"), ""),
    ],
)
def test_the_split_asked_for_goes_before_the_default(
    image_folder: Path, split: str | None, default: str | None, classes: tuple[str, ...], name: str
) -> None:
    data = open_dataset(image_folder, split, default)
    assert data.classes == classes
    assert data.name == image_folder.stem + name


def test_without_splits_the_default_is_not_asked_for(tmp_path: Path) -> None:
    class_folders(tmp_path / "parts", classes=2, count=2)
    data = open_dataset(tmp_path / "parts", default="test")
    assert (data.name, data.classes) == ("parts", ("k00", "k01"))


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    class_folders(tmp_path / "parts", classes=1, count=2)
    (tmp_path / "parts" / "k00").rename(tmp_path / "parts" / "test")
    class_folders(tmp_path / "parts", classes=1, count=2)
    assert open_dataset(tmp_path / "parts", default="test").classes == ("k00", "test")


def test_hidden_files_and_other_files_are_no_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "parts", classes=2, count=2)
    (root / "__MACOSX" / "k00").mkdir(parents=True)
    (root / "__MACOSX" / "k00" / "0.png").write_bytes(b"junk")
    (root / "k00" / ".hidden.png").write_bytes(b"junk")
    (root / "k00" / "notes.txt").write_text("notes")
    (root / "loose.png").write_bytes(b"junk")
    assert open_dataset(root).files == ("k00/0.png", "k00/1.png", "k01/0.png", "k01/1.png")


# --- refusals --------------------------------------------------------------------------------


def test_a_missing_split_is_refused_with_those_that_are_there(image_folder: Path) -> None:
    with refusal(DataError, image_folder, "'val'", "test", "train"):
        open_dataset(image_folder, "val")


def test_what_is_absent_or_no_zip_is_refused(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "none.zip", "no such"):
        open_dataset(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with refusal(DataError, tmp_path / "text.zip", "zip"):
        open_dataset(tmp_path / "text.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    with refusal(DataError, tmp_path / "empty.zip", "zip"):
        open_dataset(tmp_path / "empty.zip")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _without_directory(data: bytes) -> bytes:
    """Overwrite the central directory, and leave the end record that `is_zipfile` looks for."""
    end = data.rindex(b"PK\x05\x06")
    size, offset = struct.unpack("<II", data[end + 12 : end + 20])
    return data[:offset] + b"\0" * size + data[end:]


@pytest.mark.parametrize("damage", [_cut, _without_directory])
def test_a_damaged_zip_is_refused(
    tmp_path: Path, image_folder: Path, damage: Callable[[bytes], bytes]
) -> None:
    archive = _zipped(image_folder, tmp_path / "images.zip")
    archive.write_bytes(damage(archive.read_bytes()))
    with refusal(DataError, archive, "zip"):
        open_dataset(archive)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_image_in_a_zip_is_named(tmp_path: Path, compression: int) -> None:
    root = class_folders(tmp_path / "parts", classes=1, count=3)
    (root / "k00" / "1.png").write_bytes(b"a compressible text, over and over; " * 200)
    archive = _zipped(root, tmp_path / "images.zip", compression)
    data = bytearray(archive.read_bytes())
    start = data.index(b"k00/1.png") + len("k00/1.png")
    data[start : start + 24] = b"\xff" * 24
    archive.write_bytes(data)
    dataset = open_dataset(archive)
    next(dataset.images([0]))
    with refusal(ImageError, archive, "k00/1.png"):
        list(dataset.images())


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
@pytest.mark.parametrize("in_zip", [False, True])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes, in_zip: bool) -> None:
    root = class_folders(tmp_path / "parts", classes=2, count=2)
    (root / "k01" / "0.png").write_bytes(content)
    data = open_dataset(_zipped(root, tmp_path / "parts.zip") if in_zip else root)
    with refusal(ImageError, data.root, "k01/0.png"):
        data.prepared(PreprocessSpec(size=16))


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path, "no images"):
        open_dataset(tmp_path)
    cv2.imwrite(str(tmp_path / "loose.png"), image_of(0, 0))
    with refusal(DataError, tmp_path, "no images", "class/image"):
        open_dataset(tmp_path)


# --- images without labels -------------------------------------------------------------------


def test_images_of_takes_any_layout_and_spreads_over_it(image_folder: Path) -> None:
    everything = images_of(image_folder, limit=1000)
    assert len(everything) == 56
    some = images_of(image_folder, limit=9, seed=3)
    again = images_of(image_folder, limit=9, seed=3)
    other = images_of(image_folder, limit=9, seed=4)
    assert len(some) == 9
    assert all(np.array_equal(a, b) for a, b in zip(some, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(some, other, strict=True))


def test_images_of_reads_a_flat_folder_and_refuses_an_empty_one(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path, "no images"):
        images_of(tmp_path, limit=5)
    cv2.imwrite(str(tmp_path / "one.png"), image_of(0, 0))
    (image,) = images_of(tmp_path, limit=5)
    np.testing.assert_array_equal(image, image_of(0, 0))


def test_an_empty_data_set_has_no_images(tmp_path: Path) -> None:
    data = Dataset("none", tmp_path, (), (), np.zeros(0, np.int64))
    assert len(data) == 0
    assert data.prepared(PreprocessSpec(size=16)).shape == (0, 16, 16, 3)


# --- what cannot be read is passed over, and counted by its kind ------------------------------


def _moving(kind: str, pictures: int = 2) -> bytes:
    """A file of several pictures, as Pillow writes it."""
    frames = [PIL.Image.fromarray(image_of(0, seed)) for seed in range(pictures)]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _jpeg_of_half_zeros() -> bytes:
    scene = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", scene)[1].tobytes()
    return data[: len(data) // 2] + bytes(len(data) // 2 - 2) + b"\xff\xd9"


def _cut_png() -> bytes:
    return bytes(cv2.imencode(".png", image_of(0, 0))[1].tobytes()[:-30])


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "animated WebP": (".webp", lambda: _moving("WEBP")),
    "animated PNG": (".png", lambda: _moving("PNG")),
    "TIFF of several pictures": (".tif", lambda: _moving("TIFF")),
    "damaged JPEG": (".jpg", _jpeg_of_half_zeros),
    "damaged PNG": (".png", _cut_png),
    "empty file": (".jpeg", lambda: b""),
    "no picture": (".bmp", lambda: b"this is a text"),
}


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """Three classes of eight images, with one of each kind that cannot be read in the first."""
    root = class_folders(tmp_path / "spoilt", classes=3, count=8)
    for number, (suffix, make) in enumerate(BAD.values()):
        (root / "k00" / f"bad{number}{suffix}").write_bytes(make())
    return root


@pytest.mark.parametrize("as_zip", [False, True])
def test_what_cannot_be_read_is_counted_by_its_kind(
    spoilt: Path, tmp_path: Path, as_zip: bool
) -> None:
    given = open_dataset(_zipped(spoilt, tmp_path / "s.zip") if as_zip else spoilt)
    data = given.readable()
    assert (len(given), len(data)) == (24 + len(BAD), 24)
    assert data.found.passed_over.counts == dict.fromkeys(BAD, 1)
    assert not given.found.passed_over, "the data set as it was opened is not changed"
    assert len(list(data.images())) == 24
    assert data.readable() is data


def test_nothing_that_an_option_answers_is_passed_over(spoilt: Path) -> None:
    """Which pictures are dark enough to be asked about would decide what is learned from."""
    dim = (image_of(0, 0).astype(np.uint16)) * 4
    cv2.imwrite(str(spoilt / "k01" / "deep.png"), dim)
    with refusal(UnsaidError, "deep.png", "--bits"):
        open_dataset(spoilt).readable()
    assert len(open_dataset(spoilt, reading=Reading(bits=10)).readable()) == 25


def test_a_class_that_would_be_empty_is_refused(spoilt: Path) -> None:
    (spoilt / "k03").mkdir()
    (spoilt / "k03" / "a.webp").write_bytes(_moving("WEBP"))
    with refusal(DataError, "'k03'", "several pictures"):
        open_dataset(spoilt).readable()


def test_a_sample_goes_on_without_what_cannot_be_read(spoilt: Path, tmp_path: Path) -> None:
    images, sample = sample_images(sample_of(spoilt, EVERY))
    assert len(images) == len(sample) == 24
    assert len(images_of(spoilt, EVERY)) == 24
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.jpg").write_bytes(b"")
    with refusal(DataError, "none", "empty"):
        images_of(tmp_path / "none", EVERY)


def test_a_zip_with_backslashes_is_the_same_data(tmp_path: Path, image_folder: Path) -> None:
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((image_folder / "test").rglob("*.png")):
            name = "\\".join(file.relative_to(image_folder).parts)
            archive.writestr(name, file.read_bytes())
    data, expected = open_dataset(path, "test"), open_dataset(image_folder, "test")
    assert data.classes == expected.classes
    for left, right in zip(data.images(), expected.images(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_class_is_text_whatever_the_bytes_of_its_folder(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", classes=2, count=2)
    os.rename(os.fsencode(root / "k01"), os.fsencode(root) + b"/k\xff")  # noqa: PTH104
    data = open_dataset(root)
    assert data.classes == ("k00", "k\\udcff")
    assert len(data.readable()) == 4
