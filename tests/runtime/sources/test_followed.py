"""A folder that grows: each picture once, and only when it is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runtime import LABELS, picture

from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.sources import followed
from vision_edge.runtime.sources.followed import FollowedFolder


class Follower:
    """A source that is read in a thread, and what came."""

    def __init__(self, folder: Path) -> None:
        self.bad: list[ImageError] = []
        self.source = FollowedFolder(folder, self.bad.append)
        self.names: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for frame in self.source:
            assert frame.number == len(self.names)
            self.names.append(Path(frame.source).name)

    def close(self) -> None:
        self.source.close()
        self._thread.join(2)
        assert not self._thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(followed, "WHOLE_SECONDS", 0.1)
    monkeypatch.setattr(followed, "GIVE_UP_SECONDS", 0.5)


@pytest.fixture
def follower(tmp_path: Path, quick: None) -> Iterator[Follower]:
    (tmp_path / "there.jpg").write_bytes(encode_jpeg(picture(1)))
    opened = Follower(tmp_path)
    yield opened
    opened.close()


def until(done) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def test_a_picture_that_grows_comes_once_when_it_is_whole(
    follower: Follower, tmp_path: Path
) -> None:
    until(lambda: follower.names == ["there.jpg"])
    whole = encode_jpeg(picture(2, 256))
    with (tmp_path / "slow.jpg").open("wb") as upload:
        for start in range(0, len(whole), len(whole) // 6):
            upload.write(whole[start : start + len(whole) // 6])
            upload.flush()
            time.sleep(0.06)
            assert "slow.jpg" not in follower.names or start > 0.6 * len(whole)
    until(lambda: follower.names[-1] == "slow.jpg")
    time.sleep(0.3)
    assert follower.names == ["there.jpg", "slow.jpg"]
    assert follower.bad == []


def test_an_upload_that_pauses_longer_than_that_is_waited_for(
    follower: Follower, tmp_path: Path
) -> None:
    whole = encode_jpeg(picture(3, 256))
    (tmp_path / "paused.jpg").write_bytes(whole[: len(whole) // 2])
    time.sleep(0.25)  # still for longer than a whole file is
    assert "paused.jpg" not in follower.names
    (tmp_path / "paused.jpg").write_bytes(whole)
    until(lambda: "paused.jpg" in follower.names)
    assert follower.bad == []


def test_what_stays_broken_is_said_once_and_others_go_on(
    follower: Follower, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(encode_jpeg(picture(4))[:200])
    (tmp_path / "sub").mkdir()
    (tmp_path / ".part.jpg").write_bytes(encode_jpeg(picture(4)))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "upload.tmp").write_bytes(encode_jpeg(picture(5)))
    (tmp_path / "upload.tmp").rename(tmp_path / "sub" / "renamed.jpg")
    until(lambda: "renamed.jpg" in follower.names and follower.bad)
    (tmp_path / "late.jpg").write_bytes(encode_jpeg(picture(6)))
    until(lambda: "late.jpg" in follower.names)
    assert sorted(follower.names) == ["late.jpg", "renamed.jpg", "there.jpg"]
    assert len(follower.bad) == 1


def test_a_picture_under_an_old_name_is_another(follower: Follower, tmp_path: Path) -> None:
    until(lambda: follower.names == ["there.jpg"])
    for count in (2, 3):
        (tmp_path / "there.jpg").write_bytes(encode_jpeg(picture(10 + count)))
        until(lambda count=count: len(follower.names) == count)
    (tmp_path / "there.jpg").unlink()
    time.sleep(0.1)
    assert follower.names == ["there.jpg"] * 3


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        FollowedFolder(tmp_path / "absent")


def test_a_run_follows_until_it_is_interrupted(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    folder, rows = tmp_path / "drop", tmp_path / "rows.jsonl"
    folder.mkdir()
    line = [
        sys.executable, "-c", "from vision_edge.cli.app import main; main()", "run",
        bundle_path, folder, "--gallery", registered, "--follow", "--jsonl", rows,
    ]  # fmt: skip
    running = subprocess.Popen(list(map(str, line)), stderr=subprocess.PIPE, text=True)
    try:
        for count, label in enumerate(LABELS, 1):
            os.link(shots / f"{label}.png", folder / f"{label}.png")
            until(lambda count=count: rows.exists() and rows.read_text().count("\n") == count)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "stopped" in said and "3 verdict(s)" in said
    assert [label in row for label, row in zip(LABELS, rows.read_text().splitlines(), strict=True)]
