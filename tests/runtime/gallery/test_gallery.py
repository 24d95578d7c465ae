"""The gallery: every change is whole, numbered, undoable, and survives a kill."""

from __future__ import annotations

import getpass
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import DIM, picture

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError, ImageError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.labels import MAX_LABEL, checked_label
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image, encode_jpeg

MODEL, OTHER = ModelIdentity("a" * 64, 4), ModelIdentity("b" * 64, 4)


def snapshot(number: int, embedding: Any = None, dim: int = 4) -> Snapshot:
    """Return a snapshot whose image and embedding are its number's."""
    vector = np.full(dim, number, np.float32) if embedding is None else embedding
    return Snapshot(encode_jpeg(picture(number)), vector, f"shot {number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parts.gallery"


@pytest.fixture
def empty(path: Path) -> Iterator[Gallery]:
    with Gallery(path, MODEL, create=True, author="tester") as opened:
        yield opened


@pytest.fixture
def filled(empty: Gallery) -> Gallery:
    """bolt: snapshots 1 and 2; nut: snapshot 3. Version 3."""
    empty.add("bolt", [snapshot(1), snapshot(2)])
    empty.add("nut", [snapshot(3)])
    return empty


def test_a_new_gallery_is_empty(empty: Gallery) -> None:
    assert (empty.version, empty.state(), empty.events()) == (0, {}, [])
    labels, prototypes = empty.prototypes()
    assert labels == []
    assert prototypes.shape == (0, 4)
    assert empty.model == MODEL


def test_a_prototype_is_the_mean_of_its_snapshots(empty: Gallery) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    assert empty.add("bolt", [snapshot(k, vectors[k]) for k in (0, 1)]) == 2
    assert empty.add("nut", [snapshot(2, vectors[2])]) == 3
    assert empty.add("bolt", [snapshot(k, vectors[k]) for k in (3, 4)]) == 5
    labels, prototypes = empty.prototypes()
    assert labels == ["bolt", "nut"]
    assert prototypes.dtype == np.float32
    assert np.allclose(prototypes[0], vectors[[0, 1, 3, 4]].mean(axis=0), atol=1e-6)
    assert np.array_equal(prototypes[1], vectors[2])


def test_an_image_comes_back_as_the_jpeg_that_was_kept(filled: Gallery) -> None:
    first = filled.state()["bolt"][0]
    assert np.array_equal(filled.snapshots.image(first), decode_image(snapshot(1).jpeg, "x"))
    with pytest.raises(GalleryError, match="there is no snapshot 99"):
        filled.snapshots.image(99)


def test_all_of_it_is_there_when_it_is_opened_again(filled: Gallery, path: Path) -> None:
    before = (filled.state(), filled.events(), filled.prototypes()[1].tobytes())
    filled.close()
    for model in (MODEL, None):
        with Gallery(path, model) as again:
            assert (again.state(), again.events(), again.prototypes()[1].tobytes()) == before


def test_each_event_says_when_who_and_what(filled: Gallery, path: Path) -> None:
    with Gallery(path, author="Zoë") as other:
        other.rename("nut", "hex nut")
        other.remove("bolt")
        other.rollback(3)
    got = [(e.version, e.author, e.kind, e.label, e.argument) for e in filled.events()]
    assert got == [
        (1, "tester", "add", "bolt", None),
        (2, "tester", "add", "bolt", None),
        (3, "tester", "add", "nut", None),
        (4, "Zoë", "rename", "nut", "hex nut"),
        (5, "Zoë", "remove", "bolt", None),
        (6, "Zoë", "rollback", None, "3"),
    ]
    assert [e.snapshot for e in filled.events()] == [1, 2, 3, None, None, None]
    now = datetime.now(timezone.utc)
    for event in filled.events():
        assert timedelta(0) <= now - datetime.fromisoformat(event.time) < timedelta(minutes=1)


def test_the_author_is_the_user_who_runs_it(path: Path) -> None:
    with Gallery(path, MODEL, create=True) as opened:
        opened.add("bolt", [snapshot(1)])
        assert opened.events()[0].author == getpass.getuser()


def test_a_user_without_a_name_has_a_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with Gallery(path, MODEL, create=True) as opened:
        assert opened.author == f"uid {os.getuid()}"


def test_removing_and_renaming(filled: Gallery) -> None:
    assert filled.remove("bolt") == 4
    assert filled.rename("nut", "hex nut") == 5
    assert filled.state() == {"hex nut": [3]}
    assert filled.rename("hex nut", "bolt") == 6  # the name is free again
    assert filled.state() == {"bolt": [3]}


@pytest.mark.parametrize("action", ["remove", "rename"])
def test_a_product_that_is_not_there_is_named_with_those_that_are(
    filled: Gallery, action: str
) -> None:
    arguments = ("washer",) if action == "remove" else ("washer", "x")
    with pytest.raises(GalleryError, match="there is no product 'washer'") as caught:
        getattr(filled, action)(*arguments)
    assert caught.value.fix == "registered are: 'bolt', 'nut'"
    assert filled.version == 3


def test_a_name_that_is_taken_is_refused(filled: Gallery) -> None:
    for new in ("bolt", " bolt ", "nut"):
        with pytest.raises(GalleryError, match="already"):
            filled.rename("nut", new)
    assert filled.version == 3


def test_rollbacks_can_be_rolled_back(filled: Gallery) -> None:
    filled.remove("bolt")
    states = {3: {"bolt": [1, 2], "nut": [3]}, 4: {"nut": [3]}, 1: {"bolt": [1]}, 0: {}}
    assert filled.rollback(3) == 5
    assert filled.state() == states[3]
    assert filled.rollback(4) == 6
    assert filled.state() == states[4]
    assert filled.rollback(5) == 7
    assert filled.state() == states[3]
    assert filled.rollback(1) == 8
    assert filled.state() == states[1]
    assert filled.rollback(0) == 9
    assert filled.state() == states[0]
    assert filled.prototypes()[0] == []
    assert filled.rollback(8) == 10
    assert np.array_equal(filled.prototypes()[1], [[1, 1, 1, 1]])


@pytest.mark.parametrize("version", [-1, 4, 10**9, 10**30])
def test_a_version_that_never_was_is_refused(filled: Gallery, version: int) -> None:
    with pytest.raises(GalleryError, match=rf"no version {version} \(0 to 3\)"):
        filled.rollback(version)
    assert filled.version == 3


@pytest.mark.parametrize(
    "bad",
    [
        snapshot(9, np.full(4, np.nan, np.float32)),
        snapshot(9, np.full(4, np.inf, np.float32)),
        snapshot(9, np.zeros(5, np.float32)),
        snapshot(9, np.zeros((1, 4), np.float32)),
        snapshot(1),  # registered already
        snapshot(8),  # twice in one call
    ],
    ids=["nan", "inf", "long", "shape", "registered", "twice"],
)
def test_snapshots_are_added_all_or_none(filled: Gallery, path: Path, bad: Snapshot) -> None:
    before = filled.events()
    with pytest.raises(GalleryError, match=bad.origin):
        filled.add("washer", [snapshot(7), snapshot(8), bad])
    assert filled.events() == before
    assert filled.add("washer", [snapshot(7), snapshot(8)]) == 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (5,)


def test_nothing_cannot_be_registered(filled: Gallery) -> None:
    with pytest.raises(GalleryError, match="nothing to register for 'washer'"):
        filled.add("washer", [])


def test_an_image_is_registered_once_and_its_owner_named(filled: Gallery) -> None:
    for label in ("nut", "bolt", "washer"):
        with pytest.raises(GalleryError, match="registered already, as 'bolt'"):
            filled.add(label, [snapshot(1)])
    filled.rename("bolt", "hex bolt")
    with pytest.raises(GalleryError, match="registered already, as 'hex bolt'"):
        filled.add("nut", [snapshot(1)])


def test_an_image_of_a_removed_product_can_be_registered_again(filled: Gallery) -> None:
    filled.remove("bolt")
    assert filled.add("screw", [snapshot(1)]) == 5
    assert filled.state() == {"nut": [3], "screw": [1]}
    filled.rollback(3)
    assert filled.state() == {"bolt": [1, 2], "nut": [3]}


BAD_LABELS = [
    "",
    " ",
    "\t\n",
    "a\nb",
    "a\0b",
    "\x1b[31m",
    "a\u2028b",
    "\ud800",
    "\u202e",
    "x" * 201,
]


@pytest.mark.parametrize("label", [*BAD_LABELS, "x" * 10_000], ids=lambda label: repr(label)[:12])
def test_a_label_that_cannot_be_printed_is_refused(filled: Gallery, label: str) -> None:
    for action in (
        lambda: filled.add(label, [snapshot(9)]),
        lambda: filled.rename("nut", label),
    ):
        with pytest.raises(GalleryError, match="cannot be a product's name") as caught:
            action()
        assert len(str(caught.value)) < 300
        str(caught.value).encode()
    assert filled.version == 3


@pytest.mark.parametrize(
    "label",
    ["../../etc/passwd", "a/b", "'; DROP TABLE events; --", '"', "50% <b>", "⚙🔩", "Mutter M6",
     "ナット", "-v", "null", "x" * MAX_LABEL],
)  # fmt: skip
def test_an_odd_label_is_a_label(empty: Gallery, path: Path, label: str) -> None:
    empty.add(label, [snapshot(1)])
    empty.add(f"  {label}\n", [snapshot(2)])
    with Gallery(path, MODEL) as again:
        assert again.state() == {label: [1, 2]}
        assert again.prototypes()[0] == [label]
    assert checked_label(label) == label
    empty.remove(label)
    assert empty.state() == {}


def test_names_that_are_no_utf8_are_errors_of_ours(filled: Gallery, path: Path) -> None:
    author = os.fsdecode(b"st\xfcck")
    with Gallery(path, author=author) as opened, pytest.raises(GalleryError):
        opened.remove("bolt")
    assert filled.version == 3


def test_another_models_gallery_is_refused(filled: Gallery, path: Path) -> None:
    for model in (OTHER, ModelIdentity("a" * 64, 5)):
        for create in (False, True):
            with pytest.raises(GalleryError, match="made by another model") as caught:
                Gallery(path, model, create=create)
            assert "reembed" in str(caught.value)
    assert filled.model == MODEL


def test_a_gallery_of_no_model_is_not_made(path: Path) -> None:
    with pytest.raises(GalleryError, match="no gallery here"):
        Gallery(path, create=True)
    assert not path.exists()


def test_patches_are_kept_as_halves_beside_embeddings(empty: Gallery, path: Path) -> None:
    rng = np.random.default_rng(0)
    patches = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
    empty.add("bolt", [snapshot(1)])
    assert empty.snapshots.all_patches(MODEL, 5) == {}  # an older program reads such a file
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE name = 'patches'")
        assert rows.fetchall() == []
    empty.add("bolt", [replace(snapshot(2), patches=patches)])
    kept = empty.snapshots.all_patches(MODEL, 5)
    assert kept.keys() == {2}
    assert kept[2].dtype == np.float16
    assert np.abs(kept[2] - patches).max() < 1e-3
    assert empty.snapshots.all_patches(OTHER, 5) == {}
    with pytest.raises(GalleryError, match="contradict each other"):
        empty.snapshots.all_patches(MODEL, 6)
    for wrong in (patches[:, :3], patches * np.nan):
        with pytest.raises(GalleryError, match="patches of this gallery"):
            empty.add("nut", [replace(snapshot(3), patches=wrong)])
    assert empty.version == 2


def brightness(jpeg: bytes, origin: str, dim: int = 4) -> Snapshot:
    return Snapshot(jpeg, np.full(dim, decode_image(jpeg, origin).mean(), np.float32), origin)


def test_reembedding_makes_every_snapshot_anew(filled: Gallery, path: Path) -> None:
    filled.remove("bolt")
    wider = ModelIdentity("c" * 64, 6)
    assert filled.reembed(wider, lambda jpeg, origin: brightness(jpeg, origin, dim=6)) == 5
    assert filled.model == wider
    filled.rollback(3)  # also the snapshots of removed products were embedded
    labels, prototypes = filled.prototypes()
    assert labels == ["bolt", "nut"]
    means = [decode_image(snapshot(k).jpeg, "x").mean() for k in (1, 2, 3)]
    expected = [[(means[0] + means[1]) / 2] * 6, [means[2]] * 6]
    assert np.allclose(prototypes, expected, rtol=1e-6)
    assert [(e.kind, e.argument) for e in filled.events()][4] == ("reembed", "c" * 64)
    filled.add("washer", [snapshot(9, dim=6)])
    with pytest.raises(GalleryError, match="another model"):
        Gallery(path, MODEL)


@pytest.mark.parametrize("fault", [ZeroDivisionError, KeyboardInterrupt, "shape", "nan"])
def test_a_failed_reembedding_changes_nothing(filled: Gallery, path: Path, fault: Any) -> None:
    before = (filled.events(), filled.prototypes()[1].tobytes(), filled.model)
    seen: list[int] = []

    def fail_at_the_third(jpeg: bytes, origin: str) -> Snapshot:
        seen.append(1)
        if len(seen) < 3:
            return brightness(jpeg, origin)
        if fault == "shape":
            return Snapshot(jpeg, np.zeros(5, np.float32), origin)
        if fault == "nan":
            return Snapshot(jpeg, np.full(4, np.nan, np.float32), origin)
        raise fault

    expected = GalleryError if isinstance(fault, str) else fault
    with pytest.raises(expected):
        filled.reembed(OTHER, fail_at_the_third)
    assert len(seen) == 3
    assert (filled.events(), filled.prototypes()[1].tobytes(), filled.model) == before
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT DISTINCT fingerprint FROM embeddings").fetchall()
    assert rows == [(MODEL.fingerprint,)]


def test_an_undecodable_snapshot_stops_a_reembedding(empty: Gallery) -> None:
    empty.add("bolt", [Snapshot(b"no image", np.zeros(4, np.float32), "x")])
    with pytest.raises(ImageError, match="snapshot 1"):
        empty.reembed(OTHER, brightness)
    assert empty.model == MODEL


def test_an_open_gallery_notices_that_another_process_reembedded_it(
    filled: Gallery, path: Path
) -> None:
    """Else a station would go on adding the old model's embeddings under the new one's name."""
    with Gallery(path) as other:
        other.reembed(OTHER, brightness)
    with pytest.raises(GalleryError, match="another model"):
        filled.add("washer", [snapshot(9)])
    with pytest.raises(GalleryError, match="another model"):
        filled.prototypes()
    assert filled.version == 4


def test_a_gallery_that_reembedded_itself_goes_on(filled: Gallery) -> None:
    filled.reembed(OTHER, brightness)
    filled.add("washer", [snapshot(9)])
    assert filled.prototypes()[0] == ["bolt", "nut", "washer"]


def test_ten_thousand_events_open_to_the_right_state(empty: Gallery, path: Path) -> None:
    empty.add("p0", [snapshot(1)])
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO events (time, author, kind, label, argument) "
            "VALUES ('t', 'a', 'rename', ?, ?)",
            [(f"p{k}", f"p{k + 1}") for k in range(9_998)],
        )
        connection.commit()
    assert empty.version == 9_999
    assert empty.state() == {"p9998": [1]}
    assert empty.rollback(5_000) == 10_000
    assert empty.state() == {"p4999": [1]}
    assert np.array_equal(empty.prototypes()[1], [[1, 1, 1, 1]])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM embeddings WHERE snapshot = 2",
        "UPDATE embeddings SET vector = x'00'",
        "UPDATE embeddings SET vector = x'0000803f' WHERE snapshot = 1",
        "UPDATE embeddings SET vector = x'0000c07f0000c07f0000c07f0000c07f'",  # NaN
        "UPDATE meta SET value = 'many' WHERE key = 'embedding_dim'",
        "UPDATE meta SET value = '5' WHERE key = 'embedding_dim'",
        "DELETE FROM meta",
        "INSERT INTO events (time, author, kind, label, argument) "
        "VALUES ('t', 'a', 'rename', 'absent', 'x')",
        "INSERT INTO events (time, author, kind, argument) VALUES ('t', 'a', 'rollback', 'x')",
        "INSERT INTO events (time, author, kind) VALUES ('t', CAST(x'ff' AS TEXT), 'x')",
    ],
)
def test_records_that_contradict_each_other_are_an_error_of_ours(
    filled: Gallery, path: Path, statement: str
) -> None:
    filled.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()

    def use() -> None:
        with Gallery(path, MODEL) as opened:
            opened.prototypes()

    with pytest.raises(GalleryError, match=r"parts\.gallery: ") as caught:
        use()
    assert caught.value.fix


def test_a_damaged_file_opens_or_is_refused_but_never_anything_else(
    filled: Gallery, path: Path
) -> None:
    filled.close()
    data, rng = path.read_bytes(), random.Random(0)
    outcomes = {"opened": 0, "refused": 0}
    for _ in range(150):
        size, damaged = rng.choice([1, 8, 200, 4096]), bytearray(data)
        start = rng.randrange(len(data) - size)
        damaged[start : start + size] = rng.randbytes(size)
        path.write_bytes(damaged)
        try:
            with Gallery(path, MODEL) as opened:
                opened.prototypes()
                opened.add("washer", [snapshot(9)])
                opened.rollback(2)
            outcomes["opened"] += 1
        except VisionEdgeError:
            outcomes["refused"] += 1
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert min(outcomes.values()) > 10


def test_a_truncated_file_is_refused(filled: Gallery, path: Path) -> None:
    filled.close()
    data = path.read_bytes()
    for size in (100, 4096, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises(GalleryError), Gallery(path, MODEL) as opened:
            opened.prototypes()


def test_a_closed_gallery_is_closed(filled: Gallery) -> None:
    filled.close()
    with pytest.raises(GalleryError, match="closed"):
        filled.state()


# One process registers without end and says each version that it was given. It is forked from a
# process that has everything imported, so that many can be killed in a short time.
REGISTERING = """
import os, sys
import numpy as np
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.bundles.manifest import ModelIdentity

def register(path, name):
    with Gallery(path, ModelIdentity("a" * 64, 4), create=True, author=name) as gallery:
        for k in range(int(sys.argv[2])):
            jpeg = f"{name} {k}".encode() * 2000
            version = gallery.add(f"{name} {k}", [Snapshot(jpeg, np.full(4, k, np.float32), "x")])
            os.write(1, f"{version} {name} {k}\\n".encode())

os.write(1, b"ready\\n")
for name in map(str.strip, iter(sys.stdin.readline, "")):
    child = os.fork()
    if child == 0:
        register(sys.argv[1], name)
        os._exit(0)
    os.write(1, f"child {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"done\\n")
"""


def registering(path: Path, count: int) -> subprocess.Popen[str]:
    """Start the process above; it has imported everything and waits for names."""
    process = subprocess.Popen(
        [sys.executable, "-c", REGISTERING, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def acknowledged(lines: list[str]) -> dict[int, str]:
    """Return the labels by the versions that were given out."""
    return {int(version): label for version, label in (line.split(" ", 1) for line in lines)}


def test_processes_that_add_at_the_same_time_lose_nothing(path: Path) -> None:
    processes = [registering(path, 25) for _ in range(2)]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(f"p{number}\n")
        process.stdin.flush()
    lines = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    versions = [acknowledged(line[1:-1]) for line in lines]
    assert [len(given) for given in versions] == [25, 25]
    assert sorted({**versions[0], **versions[1]}) == list(range(1, 51))  # each given to one only
    with Gallery(path, MODEL) as opened:
        events = {event.version: event.label for event in opened.events()}
        assert events == {**versions[0], **versions[1]}
        assert len(opened.prototypes()[0]) == 50


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    rng = random.Random(0)
    given: dict[int, str] = {}
    with registering(path, 1_000_000) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(15):
            process.stdin.write(f"run {number}\n")
            process.stdin.flush()
            child = int(process.stdout.readline().split()[1])
            lines = [process.stdout.readline() for _ in range(rng.randint(0 if number else 1, 5))]
            time.sleep(rng.random() * 0.01)
            os.kill(child, signal.SIGKILL)
            while (line := process.stdout.readline()) != "done\n":
                lines.append(line)
            given.update(acknowledged([line.strip() for line in lines]))
            with Gallery(path, MODEL, create=True) as opened:
                events = {event.version: event.label for event in opened.events()}
                labels, prototypes = opened.prototypes()
            assert given.items() <= events.items()
            assert sorted(events) == list(range(1, len(events) + 1))
            assert labels == list(events.values())
            assert np.array_equal(prototypes[:, 0], [int(name.split()[-1]) for name in labels])
        process.stdin.close()
    assert len(given) >= 15


def test_the_tiny_bundles_gallery_is_its_models(gallery: Gallery) -> None:
    assert gallery.model.embedding_dim == DIM


def test_notes_are_kept_with_a_change_or_not_at_all(filled: Gallery, path: Path) -> None:
    before = filled.version
    with filled.changing() as append:
        filled.note({"line/a": "1", "other": "2"})
        append("remove", "nut")
    with pytest.raises(RuntimeError), filled.changing():
        filled.note({"line/a": "lost", "line/b": "lost"})
        raise RuntimeError
    with Gallery(path) as again:
        assert again.notes("line/") == {"line/a": "1"}
        assert again.notes("lin%") == {}
        assert (again.version, again.model) == (before + 1, MODEL)
    filled.rollback(before)
    assert filled.notes("")["other"] == "2"


def test_the_files_of_snapshots_are_told_without_reading_them(filled: Gallery) -> None:
    files = filled.snapshots.files()
    assert len(files) == 3
    for identifier, file in files.items():
        jpeg = filled.snapshots.jpeg(identifier)
        assert (file.sha256, file.bytes) == (hashlib.sha256(jpeg).hexdigest(), len(jpeg))
        assert file.origin == filled.snapshots.origin(identifier)
