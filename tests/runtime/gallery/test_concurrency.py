"""One writer and several readers, as processes on one file: nothing half written is ever seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.gallery import Gallery

MODEL = ModelIdentity("f" * 64, 8)
READERS, PRODUCTS, EACH = 3, 60, 5
COMMON = """
import sys
import numpy as np
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.snapshot_store import Snapshot
path, MODEL = sys.argv[1], ModelIdentity("f" * 64, 8)
def shots(number, each):
    return [Snapshot(f"{number}/{k}".encode() * 2000, np.full(8, number, np.float32), "test")
            for k in range(each)]
"""
WRITES = (
    COMMON
    + """
with Gallery(path, MODEL) as gallery:
    for number in range(int(sys.argv[2])):
        gallery.add(f"product-{number}", shots(number, int(sys.argv[3])))
        if number % 7 == 3:  # a registration that fails half way leaves nothing
            try:
                bad = Snapshot(b"bad%d" % number, np.ones(3, np.float32), "bad")
                gallery.add(f"bad-{number}", [*shots(-number, 2), bad])
            except Exception as error:
                assert "float32 (8,)" in str(error), error
        print(f"product-{number}", flush=True)
"""
)
READS = (
    COMMON
    + """
each, kept, seen, rounds = int(sys.argv[2]), None, -1, 0
print("ready", flush=True)
while seen < int(sys.argv[3]):
    gallery = kept if kept is not None and rounds % 2 else Gallery(path, MODEL)
    state = gallery.state()
    assert all(len(ids) == each for ids in state.values()), state
    labels, prototypes = gallery.prototypes()
    assert labels == [f"product-{k}" for k in range(len(labels))], labels
    assert (prototypes == np.arange(len(labels))[:, None]).all()
    assert len(labels) >= max(seen, len(state)), (len(labels), seen, len(state))
    for label in labels[-2:]:
        (identifier, *_) = gallery.state()[label]
        assert gallery.snapshots.jpeg(identifier).startswith(label.split("-")[1].encode() + b"/")
    seen, rounds = len(labels), rounds + 1
    if kept is None:
        kept = gallery
    elif gallery is not kept:
        gallery.close()
print(rounds, flush=True)
"""
)


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.slow
def test_readers_see_whole_products_while_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "g"
    Gallery(path, MODEL, create=True).close()
    readers = [started(READS, path, EACH, PRODUCTS) for _ in range(READERS)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    writer = started(WRITES, path, PRODUCTS, EACH)
    said, wrong = writer.communicate(timeout=120)
    assert (writer.returncode, wrong) == (0, "")
    acknowledged = said.split()
    for reader in readers:
        rounds, wrong = reader.communicate(timeout=60)
        assert (reader.returncode, wrong) == (0, "")
        assert int(rounds) > 1
    with Gallery(path, MODEL) as gallery:
        assert list(gallery.state()) == acknowledged == [f"product-{k}" for k in range(PRODUCTS)]
        assert gallery.version == PRODUCTS * EACH


@pytest.mark.slow
def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    code = COMMON + (
        "with Gallery(path, MODEL, create=True) as gallery:\n"
        "    for number in range(40):\n"
        "        k = int(sys.argv[2]) + number\n"
        "        gallery.add(f'p-{k}', shots(k, 2))\n"
        "        print(f'p-{k}', flush=True)\n"
    )
    writers = [started(code, tmp_path / "g", 1000 * k) for k in range(2)]
    acknowledged: list[str] = []
    for writer in writers:
        said, wrong = writer.communicate(timeout=120)
        assert (writer.returncode, wrong) == (0, "")
        acknowledged += said.split()
    with Gallery(tmp_path / "g", MODEL) as gallery:
        assert sorted(gallery.state()) == sorted(acknowledged)
        assert len(acknowledged) == 80


def test_a_block_of_reads_sees_one_state(tmp_path: Path) -> None:
    import numpy as np

    from vision_edge.runtime.gallery.snapshot_store import Snapshot

    def shot(number: int) -> list[Snapshot]:
        return [Snapshot(b"%d" % number, np.ones(8, np.float32), "x")]

    with Gallery(tmp_path / "g", MODEL, create=True) as one, Gallery(tmp_path / "g") as other:
        one.add("a", shot(1))
        with other.reading():
            assert list(other.state()) == ["a"]
            one.add("b", shot(2))
            assert list(other.state()) == ["a"]
            assert other.prototypes()[0] == ["a"]
        assert list(other.state()) == ["a", "b"]


def test_an_import_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    import numpy as np

    from vision_edge.runtime.gallery.snapshot_store import Snapshot

    with Gallery(tmp_path / "g", MODEL, create=True) as one, Gallery(tmp_path / "g") as other:
        with one.changing() as append:
            for number in range(3):
                shot = Snapshot(b"%d" % number, np.ones(8, np.float32), "x")
                append("add", "a", snapshot=one.snapshots.store(shot, MODEL))
                assert other.state() == {}
        assert other.state() == {"a": [1, 2, 3]}
        with pytest.raises(KeyError), one.changing() as append:
            append("remove", "a")
            raise KeyError
        assert one.state() == other.state() == {"a": [1, 2, 3]}
