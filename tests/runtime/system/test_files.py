"""Writes are whole or not there at all, whatever ends them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vision_edge.runtime.system.files import atomic_file, atomic_folder, printable, sha256_file


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256_is_that_of_all_the_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_file_appears_whole_and_keeps_its_suffix_on_the_way(tmp_path: Path) -> None:
    target = tmp_path / "new" / "video.mp4"
    with atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names(target.parent) == ["video.mp4"]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with (tmp_path / "f").open("rb") as reader:
        with atomic_file(tmp_path / "f") as temporary:
            temporary.write_bytes(b"new")
        assert reader.read() == b"old"  # another file took its place; it was not written over
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failed_file_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], old: bytes | None
) -> None:
    target = tmp_path / "f.json"
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(error), atomic_file(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == ([] if old is None else ["f.json"])
    assert old is None or target.read_bytes() == old


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [False, True])
def test_a_failed_folder_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], old: bool
) -> None:
    target = tmp_path / "bundle"
    if old:
        target.mkdir()
        (target / "a").write_bytes(b"old")
    with pytest.raises(error), atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"half")
        raise error
    assert names(tmp_path) == (["bundle"] if old else [])
    assert not old or (target / "a").read_bytes() == b"old"


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    (target / "sub").mkdir(parents=True)
    (target / "only_old").write_bytes(b"1")
    with atomic_folder(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "b").write_bytes(b"2")
        assert names(target) == ["only_old", "sub"]
    assert names(target) == ["deep"]
    assert (target / "deep" / "b").read_bytes() == b"2"
    assert names(tmp_path) == ["bundle"]


def test_a_failing_swap_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "a").write_bytes(b"old")
    replace = Path.replace

    def fail_on_the_new_one(self: Path, other: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("no")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", fail_on_the_new_one)
    with pytest.raises(OSError, match="no"), atomic_folder(target) as temporary:
        (temporary / "a").write_bytes(b"new")
    assert names(tmp_path) == ["bundle"]
    assert (target / "a").read_bytes() == b"old"


def test_a_link_to_a_folder_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "a").write_bytes(b"1")
    (tmp_path / "current").symlink_to("v1")
    with atomic_folder(tmp_path / "current") as temporary:
        (temporary / "a").write_bytes(b"2")
    assert (tmp_path / "current" / "a").read_bytes() == b"2"
    assert (tmp_path / "v1" / "a").read_bytes() == b"1"
    assert names(tmp_path) == ["current", "v1"]


def test_a_folder_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"1")
    with pytest.raises(NotADirectoryError, match="precious"), atomic_folder(tmp_path / "precious"):
        pytest.fail("refused before any work is done")
    assert (tmp_path / "precious").read_bytes() == b"1"
    assert names(tmp_path) == ["precious"]


def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    with atomic_file(tmp_path / "f") as temporary:
        assert mode(temporary) == 0o600
        temporary.write_bytes(b"x")
    with atomic_folder(tmp_path / "d") as temporary:
        assert mode(temporary) == 0o700
        (temporary / "f").write_bytes(b"x")
    assert mode(tmp_path / "f") == 0o666 & ~umask
    assert mode(tmp_path / "d") == 0o777 & ~umask
    assert mode(tmp_path / "d" / "f") == 0o666 & ~umask


KILLED = """
import sys, time
from pathlib import Path
from vision_edge.runtime.system import files
kind, target = sys.argv[1], Path(sys.argv[2])
with getattr(files, kind)(target) as temporary:
    (temporary / "a" if kind == "atomic_folder" else temporary).write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_folder"])
def test_a_kill_in_the_middle_leaves_the_old_content(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    inside = target / "a" if kind == "atomic_folder" else target
    inside.parent.mkdir(exist_ok=True)
    inside.write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, kind, str(target)], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert inside.read_bytes() == b"old"
    with getattr(__import__("vision_edge.runtime.system.files", fromlist=[kind]), kind)(
        target
    ) as again:
        (again / "a" if kind == "atomic_folder" else again).write_bytes(b"new")
    assert inside.read_bytes() == b"new"


def test_names_that_are_no_utf8_become_printable() -> None:
    assert printable(Path(os.fsdecode(b"st\xfcck.png"))) == r"st\udcfcck.png"
    assert printable(Path("Stück – ⚙.png")) == "Stück – ⚙.png"
