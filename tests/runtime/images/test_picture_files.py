"""Folders and zips: every picture by its content, and a word on everything else."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zipfile
import zlib
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


@pytest.mark.parametrize("target", ["self.jpg", "../b/other.jpg"])
def test_a_link_that_goes_round_is_named_and_the_rest_is_read(tmp_path: Path, target: str) -> None:
    write(tmp_path / "a" / "1.jpg")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "self.jpg").symlink_to(target)
    (tmp_path / "b" / "other.jpg").symlink_to("../a/self.jpg")
    found = pictures_below(tmp_path)
    assert found.files == ("a/1.jpg",)
    assert found.passed_over.counts["broken link"] == 2


def named(path: Path, raw: bytes, *, extra: bytes = b"") -> Path:
    """A zip of one picture whose name is these bytes, and which says nothing of their code."""
    stands = "x" * len(raw)
    entry = zipfile.ZipInfo(f"{stands}/1.jpg")
    entry.extra = extra
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, cv2.imencode(".jpg", picture(0))[1].tobytes())
    path.write_bytes(path.read_bytes().replace(stands.encode(), raw))
    return path


@pytest.mark.parametrize("name", ["café", "りんご", "шайба", "cafe\u0301", "🔩"])
def test_a_name_in_utf_8_is_read_though_the_zip_does_not_say_so(tmp_path: Path, name: str) -> None:
    found = pictures_below(named(tmp_path / "mac.zip", name.encode()))
    assert found.files == (f"{name}/1.jpg",)
    assert not found.lines()


@pytest.mark.parametrize(("name", "code"), [("りんご", "shift_jis"), ("шайба", "cp866")])
def test_a_name_in_a_code_that_nobody_tells_is_said_to_be_guessed(
    tmp_path: Path, name: str, code: str
) -> None:
    (line,) = pictures_below(named(tmp_path / "old.zip", name.encode(code))).lines()
    assert "code page 437" in line


def test_the_name_that_info_zip_adds_in_utf_8_counts(tmp_path: Path) -> None:
    raw = "café".encode("cp850")
    true = "café/1.jpg".encode()
    for checksum, files in (
        (zlib.crc32(raw + b"/1.jpg"), ("café/1.jpg",)),
        (0, ("caf\u00e9/1.jpg",)),  # of another name: the code page counts, which agrees here
    ):
        held = struct.pack("<BI", 1, checksum) + true
        extra = struct.pack("<HH", 0x7075, len(held)) + held
        assert pictures_below(named(tmp_path / "i.zip", raw, extra=extra)).files == files


def test_a_file_that_unpacks_to_very_much_is_left_out_unread(tmp_path: Path) -> None:
    root = tmp_path / "bomb.zip"
    jpeg = cv2.imencode(".jpg", picture(0))[1].tobytes()
    with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", jpeg)
        with archive.open("a/2.jpg", "w") as stream:
            stream.write(jpeg)
            for _ in range(129):
                stream.write(bytes(1 << 20))
    found = pictures_below(root)
    assert found.files == ("a/1.jpg",)
    assert found.passed_over.counts == {"file that unpacks to more than 128 MiB": 1}
