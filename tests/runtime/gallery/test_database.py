"""The SQLite file: created whole, opened only if it is ours, changed only in transactions."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.database import Database

INITIAL = {"fingerprint": "f" * 64, "embedding_dim": "4"}
EVENT = "INSERT INTO events (time, author, kind) VALUES ('t', 'a', 'k')"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_holds_what_it_was_given_and_closes_to_one_file(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "new" / "g", INITIAL)) as database:
        assert database.meta("fingerprint") == "f" * 64
        assert database.rows("SELECT count(*) FROM events") == [(0,)]
    assert names(tmp_path / "new") == ["g"]
    with closing(Database(tmp_path / "new" / "g", None)) as again:
        assert again.meta("embedding_dim") == "4"


def test_an_existing_file_keeps_its_values(tmp_path: Path) -> None:
    Database(tmp_path / "g", INITIAL).close()
    with closing(Database(tmp_path / "g", {"fingerprint": "other"})) as again:
        assert again.meta("fingerprint") == "f" * 64


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "g", INITIAL)) as database:
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA synchronous") == [(2,)]  # FULL
        assert database.rows("PRAGMA foreign_keys") == [(1,)]


def test_no_file_is_made_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="there is no gallery here"):
        Database(tmp_path / "g", None)
    assert names(tmp_path) == []


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


@pytest.mark.parametrize("kind", ["text", "foreign", "folder", "binary"])
@pytest.mark.parametrize("create", [False, True])
def test_what_is_no_gallery_is_refused_and_left_alone(
    tmp_path: Path, kind: str, create: bool
) -> None:
    path = tmp_path / "x"
    if kind == "text":
        path.write_text("a shopping list\n" * 100)
    elif kind == "binary":
        path.write_bytes(os.urandom(5000))
    elif kind == "folder":
        path.mkdir()
    else:
        foreign_database(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(GalleryError) as caught:
        Database(path, INITIAL if create else None)
    assert str(path) in str(caught.value)
    assert caught.value.fix
    assert path.is_dir() or path.read_bytes() == before
    assert names(tmp_path) == ["x"]


def test_an_empty_file_becomes_a_gallery_only_where_one_may_be_made(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(GalleryError, match="not a gallery"):
        Database(tmp_path / "x", None)
    assert (tmp_path / "x").read_bytes() == b""
    with closing(Database(tmp_path / "x", INITIAL)) as database:
        assert database.meta("embedding_dim") == "4"


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_schema_version_is_refused_by_number(tmp_path: Path, version: int) -> None:
    Database(tmp_path / "g", INITIAL).close()
    with closing(sqlite3.connect(tmp_path / "g")) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(GalleryError, match=f"gallery version {version} is not one") as caught:
        Database(tmp_path / "g", None)
    assert caught.value.fix == "update vision-edge on this device"


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    with (
        closing(Database(tmp_path / "g", {"fingerprint": "f"})) as database,
        pytest.raises(GalleryError, match="it has no embedding_dim"),
    ):
        database.meta("embedding_dim")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET author = 'me'",
        "UPDATE events SET version = 9 WHERE version = 1",
        "DELETE FROM events",
        "DELETE FROM events WHERE version = 1",
    ],
)
def test_events_can_only_be_appended(tmp_path: Path, statement: str) -> None:
    with closing(Database(tmp_path / "g", INITIAL)) as database:
        database.rows(EVENT)
        with pytest.raises(GalleryError, match="append-only"):
            database.rows(statement)
        assert database.rows("SELECT version, author FROM events") == [(1, "a")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_transaction_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with closing(Database(tmp_path / "g", INITIAL)) as database:
        with pytest.raises(error), database.transaction():
            database.rows(EVENT)
            raise error
        assert database.rows("SELECT count(*) FROM events") == [(0,)]
        with database.transaction():
            database.rows(EVENT)
        assert database.rows("SELECT version FROM events") == [(1,)]  # no number is left out


def test_a_statement_that_fails_within_a_transaction_undoes_it(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "g", INITIAL)) as database:
        with pytest.raises(GalleryError, match="no such table"), database.transaction():
            database.rows(EVENT)
            database.rows("SELECT * FROM absent")
        assert database.rows("SELECT count(*) FROM events") == [(0,)]


@pytest.mark.parametrize("name", ["a" * 300, "file/below"])
def test_a_path_that_cannot_be_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    for initial in (None, INITIAL):
        with pytest.raises(GalleryError):
            Database(tmp_path / name, initial)


def test_a_closed_file_is_closed(tmp_path: Path) -> None:
    database = Database(tmp_path / "g", INITIAL)
    database.close()
    with pytest.raises(GalleryError, match="closed"):
        database.meta("fingerprint")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(GalleryError, match="can be written"):
            Database(tmp_path / "g", INITIAL)
    finally:
        tmp_path.chmod(0o700)
