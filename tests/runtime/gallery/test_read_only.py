"""A gallery that may only be read is listed, shown, exported and run against, and never written."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.runtime import LABELS, FakeEmbedder, invoke, make_bundle, picture

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.archive import write_archive
from vision_edge.runtime.gallery.database import reading_connection
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.pipeline.registration import snapshot_of

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "line"
    folder.mkdir()
    identity = load_bundle(make_bundle(tmp_path / "bundle")).manifest.identity
    with Gallery(folder / "g.db", identity, create=True) as gallery:
        for number, label in enumerate(LABELS):
            gallery.add(label, [snapshot_of(picture(number), FakeEmbedder(), "x")])
    ours = [p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-"))]
    for parent in (tmp_path, *ours):
        parent.chmod(0o755)
    return folder / "g.db"


def as_nobody(action: Callable[[], None]) -> None:
    """Run something in a process of a user who owns nothing; root may write whatever the mode."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def read_all(path: Path, out: Path) -> None:
    with GalleryReader(path) as gallery:
        assert list(gallery.state()) == LABELS
        assert len(gallery.events()) == 3
        assert np.isfinite(gallery.prototypes()[1]).all()
        assert gallery.snapshots.image(1).ndim == 3
        write_archive(gallery, out)  # type: ignore[arg-type]


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o755), (0o444, 0o555), (0o644, 0o555)])
def test_what_may_only_be_read_is_read(path: Path, file: int, folder: int) -> None:
    out = path.parents[1] / "out"
    out.mkdir()
    out.chmod(0o777)
    path.chmod(file)
    path.parent.chmod(folder)
    try:
        as_nobody(lambda: read_all(path, out / "a.zip"))
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["g.db"]
    finally:
        path.parent.chmod(0o755)


def test_the_newest_changes_beside_it_are_read_too_or_missed_aloud(path: Path) -> None:
    with Gallery(path) as writer:
        writer.rename("nut", "Mutter")
        assert path.with_name("g.db-wal").stat().st_size > 0

        def read() -> None:
            with GalleryReader(path) as gallery:
                assert "Mutter" in gallery.state()

        as_nobody(read)
        path.with_name("g.db-shm").rename(path.with_name("kept"))

        def newest_or_nothing() -> None:
            try:
                read()
            except GalleryError as error:  # what an older SQLite does
                assert "newest changes" in error.what and error.fix

        path.parent.chmod(0o555)
        try:
            if os.getuid() == 0:
                as_nobody(newest_or_nothing)
        finally:
            path.parent.chmod(0o755)
            path.with_name("kept").rename(path.with_name("g.db-shm"))


def test_a_reader_cannot_write(path: Path) -> None:
    connection = reading_connection(path)
    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM meta")
    connection.close()


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no gallery here"):
        GalleryReader(tmp_path / "deep" / "none.db")
    assert not (tmp_path / "deep").exists()


def test_the_command_line_reads_it(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    out = path.parents[1] / "shown"
    out.mkdir()
    out.chmod(0o777)

    def commands() -> None:
        for arguments in (
            ("list",), ("history",), ("show", "--out", out), ("export", "--out", out / "a.zip"),
        ):  # fmt: skip
            done = invoke("gallery", *arguments, "--gallery", path)
            assert done.exit_code == 0, done.output
        refused = invoke("gallery", "remove", "nut", "--gallery", path)
        assert refused.exit_code == 1
        assert "can be written" in str(refused.exception)

    try:
        as_nobody(commands)
    finally:
        path.parent.chmod(0o755)
