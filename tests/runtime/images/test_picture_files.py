"""Folders and zips: every picture by its content, and a word on everything else."""

from __future__ import annotations

import os
import stat
import warnings
import zipfile
from pathlib import Path

import cv2
import pytest
from support.runtime import picture

from vision_edge.runtime.errors import DataError
from vision_edge.runtime.images.passed_over import PassedOver
from vision_edge.runtime.images.picture_files import pictures_below

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def write(path: Path, number: int = 0, suffix: str = ".jpg") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(suffix, picture(number))[1].tobytes())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("a/1.jpg", "a/2.JFIF", "b/3.jpe", "b/4.mpo", "b/5.IMG", "b/6"):
        write(root / name)
    write(root / "c" / "7.ppm", suffix=".ppm")
    for name, content in {
        "a/8.HEIC": HEIC, "a/9.heic": HEIC, "b/notes.txt": b"x",
        "b/clip.mp4": b"\0\0\0\x14ftypisom",
        "a/.DS_Store": b"x", "a/Thumbs.db": b"x", "d/only.pdf": b"%PDF-1.4", "b/readme": b"",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    (root / "e" / "deeper").mkdir(parents=True)
    write(root / ".thumbnails" / "1.jpg")
    return root


def zipped(root: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root).as_posix())
    return path


@pytest.mark.parametrize("in_zip", [False, True])
def test_pictures_are_found_by_content_and_the_rest_is_named(
    folder: Path, tmp_path: Path, in_zip: bool
) -> None:
    found = pictures_below(zipped(folder, tmp_path / "d.zip") if in_zip else folder)
    assert found.files == (
        "a/1.jpg", "a/2.JFIF", "b/3.jpe", "b/4.mpo", "b/5.IMG", "b/6", "c/7.ppm",
    )  # fmt: skip
    counts = found.passed_over.counts
    assert counts["HEIC"] == 2
    assert counts["PDF"] == counts["video"] == counts[".txt file"] == 1
    assert counts["file without a suffix"] == 1
    assert counts["folder without pictures"] == 2  # d, and e with what is in it
    assert counts["hidden"] >= 3
    assert found.notes.counts == {"JPEG named .img": 1, "JPEG named without a suffix": 1}
    left, taken = found.lines()
    assert "2 HEIC (a/8.HEIC, a/9.heic)" in left
    assert "b/5.IMG" in taken


def test_a_picture_that_is_none_is_left_to_be_an_error(tmp_path: Path) -> None:
    for name in ("empty.png", "text.jpg"):
        (tmp_path / name).write_bytes(b"" if name == "empty.png" else b"text")
    assert pictures_below(tmp_path).files == ("empty.png", "text.jpg")


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / "a" / "1.jpg")
    write(tmp_path / "elsewhere" / "2.jpg")
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "again").symlink_to(root / "a", target_is_directory=True)
    (root / "circle").symlink_to(root, target_is_directory=True)
    (root / "above").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(root, target_is_directory=True)
    (root / "gone.jpg").symlink_to(tmp_path / "nothing")
    found = pictures_below(root)
    assert found.files == ("a/1.jpg", "b/2.jpg")
    assert found.notes.counts == {"linked folder": 1}
    assert found.passed_over.counts == {
        "link to a folder that is read already": 4, "broken link": 1,
    }  # fmt: skip


def test_a_pipe_and_what_moves_are_named(tmp_path: Path) -> None:
    write(tmp_path / "1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    pillow = pytest.importorskip("PIL.Image")
    pictures = [pillow.fromarray(picture(number)) for number in (1, 2)]
    pictures[0].save(tmp_path / "moves.gif", save_all=True, append_images=pictures[1:])
    found = pictures_below(tmp_path)
    assert found.files == ("1.jpg",)
    assert found.passed_over.counts == {"animated GIF": 1, "neither file nor folder": 1}


def test_what_is_encrypted_in_a_zip_is_named(tmp_path: Path) -> None:
    path = zipped(write(tmp_path / "d" / "a" / "1.jpg").parents[1], tmp_path / "d.zip")
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.rindex(magic)
        data[place + at] |= 1
    path.write_bytes(data)
    found = pictures_below(path)
    assert not found.files
    assert found.passed_over.counts["encrypted file"] == 1


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("none", "text.zip"):
        if name == "text.zip":
            (tmp_path / name).write_text("x")
        with pytest.raises(DataError):
            pictures_below(tmp_path / name)


def test_the_first_names_are_kept_and_all_are_counted() -> None:
    passed = PassedOver()
    assert not passed
    for number in range(1000):
        passed.add("HEIC", f"{number}.heic")
    passed.add("hidden", ".\udcff")
    assert passed.text() == ("1000 HEIC (0.heic, 1.heic, 2.heic and 997 more), 1 hidden (.\\udcff)")
    assert passed.document()["HEIC"] == {"count": 1000, "names": ["0.heic", "1.heic", "2.heic"]}


def test_paths_in_a_zip_are_brought_to_one_form(tmp_path: Path) -> None:
    """Backslashes of old writers, a slash before the path, two files of one path."""
    data = write(tmp_path / "x.jpg").read_bytes()
    path = tmp_path / "odd.zip"
    link = zipfile.ZipInfo("a/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("a\\1.jpg", "/b/2.jpg", "./c/3.jpg", "d/4.jpg", "d/4.jpg", "../out/5.jpg"):
            archive.writestr(name, data)
        archive.writestr(link, "1.jpg")
        archive.writestr("@eaDir/a/1.jpg", data)
    found = pictures_below(path)
    assert found.files == ("a/1.jpg", "b/2.jpg", "c/3.jpg", "d/4.jpg")
    assert found.passed_over.counts == {
        "earlier file of the same path": 1, "path that leads out of the zip": 1, "link in a zip": 1,
        "hidden": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\x1f\x8b\x08", "gzip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "RAR"),
        (bytes(257) + b"ustar", "tar"), (b"PK\x03\x04", "damaged zip"), (b"", "empty"),
    ],
)  # fmt: skip
def test_another_archive_is_called_what_it_is(head: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(head and head + bytes(100))
    with pytest.raises(DataError, match=what):
        pictures_below(tmp_path / "data")


def test_a_folder_without_pictures_that_systems_made_is_no_class(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "@eaDir/a/1.jpg", "$RECYCLE.BIN/1.jpg", "lost+found/1.jpg"):
        write(tmp_path / name)
    found = pictures_below(tmp_path)
    assert found.files == ("a/1.jpg",)
    assert found.passed_over.counts == {"hidden": 3}
