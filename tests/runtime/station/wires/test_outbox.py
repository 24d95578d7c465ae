"""The outbox: order, limits, durability, damage."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.wires import until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.wires.outbox import Outbox
from vision_edge.station.wires.payload import OnlyNew, encoded, numbered, source_of

KILLS = int(os.environ.get("VISION_EDGE_KILLS", "4"))


def outbox(path: Path, rows: int = 1000, size: int = 1 << 20, retain_s: float = 0.0) -> Outbox:
    return Outbox(path, max_rows=rows, max_bytes=size, retain_s=retain_s)


def payloads(box: Outbox) -> list[bytes]:
    return [entry.payload for entry in box.read(box.start, 10_000)]


def test_entries_come_out_in_order_and_are_numbered_without_gaps(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db")
    for number in range(500):
        box.append("cam", b"%d" % number)
    assert box.flush(5.0)
    entries = box.read(box.start, 1000)
    assert [entry.payload for entry in entries] == [b"%d" % number for number in range(500)]
    first = entries[0].sequence
    assert [entry.sequence for entry in entries] == list(range(first, first + 500))
    assert box.read(entries[9].sequence, 2) == entries[10:12]
    assert box.queued == 500
    box.close()


def test_what_is_acknowledged_is_gone_after_a_restart_and_the_rest_is_there(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db")
    for number in range(10):
        box.append("cam", b"%d" % number)
    assert box.flush(5.0)
    box.acknowledge(box.read(box.start, 4)[-1].sequence)
    assert box.queued == 6
    box.close()
    box = outbox(tmp_path / "o.db")
    assert payloads(box) == [b"%d" % number for number in range(4, 10)]
    assert box.queued == 6
    box.close()


def test_numbers_are_never_used_twice_even_when_the_file_is_lost(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db")
    box.append("cam", b"1")
    assert box.flush(5.0)
    last = box.read(box.start, 1)[0].sequence
    box.acknowledge(last)
    box.close()
    box = outbox(tmp_path / "o.db")
    box.append("cam", b"2")
    assert box.flush(5.0)
    assert box.read(box.start, 1)[0].sequence == last + 1
    box.close()
    (tmp_path / "o.db").unlink()
    box = outbox(tmp_path / "o.db")
    box.append("cam", b"3")
    assert box.flush(5.0)
    assert last + 1 < box.read(box.start, 1)[0].sequence < 2**53
    box.close()


def test_entries_are_kept_until_the_peer_has_outlived_its_acknowledgement(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db", retain_s=0.4)
    box.append("cam", b"1")
    assert box.flush(5.0)
    box.acknowledge(box.start + 1)
    assert (box.queued, box.doubtful) == (0, False)
    time.sleep(0.8)  # that time has passed says nothing about the peer
    box.append("cam", b"2")
    assert box.flush(5.0)
    assert payloads(box) == [b"1", b"2"]
    assert box.doubtful
    box.acknowledge(0)
    until(lambda: payloads(box) == [b"2"], 3.0)
    assert not box.doubtful
    box.close()


def test_after_a_crash_of_the_peer_acknowledgements_count_anew(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db", retain_s=0.4)
    for number in range(3):
        box.append("cam", b"%d" % number)
    assert box.flush(5.0)
    start = box.start
    box.acknowledge(start + 2)
    assert box.queued == 1
    assert box.rewind() == start
    assert box.queued == 3
    time.sleep(0.5)
    box.acknowledge(start + 1)  # is alive now, but the other one is not acknowledged any more
    time.sleep(0.6)
    assert len(payloads(box)) == 3
    box.acknowledge(0)
    until(lambda: payloads(box) == [b"1", b"2"], 3.0)
    box.close()


@pytest.mark.parametrize(("rows", "size"), [(100, 1 << 20), (10_000, 1000)])
def test_a_full_outbox_drops_the_oldest_and_counts_them(
    tmp_path: Path, rows: int, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    box = outbox(tmp_path / "o.db", rows, size)
    for number in range(250):
        box.append("cam", b"%010d" % number)
        if number % 10 == 9:
            assert box.flush(5.0)
    assert payloads(box) == [b"%010d" % number for number in range(150, 250)]
    assert (box.dropped, box.queued) == (150, 100)
    assert "oldest first" in caplog.text
    box.close()


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db")
    program = (
        "import sys; from pathlib import Path; "
        "from vision_edge.station.wires.outbox_file import OutboxFile; "
        "OutboxFile(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "o.db")], capture_output=True, text=True
    )
    assert "another process uses this outbox" in done.stderr
    box.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_a_damaged_outbox_is_set_aside(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "o.db"
    if damage is None:  # a sound database, but not ours
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE precious (x)")
        connection.close()
    else:
        path.write_bytes(damage)
    before = path.read_bytes()
    box = outbox(path)
    box.append("cam", b"1")
    assert box.flush(5.0)
    assert payloads(box) == [b"1"]
    assert box.set_aside is not None
    assert box.set_aside.read_bytes()[:16] == before[:16]
    box.close()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VisionEdgeError, match="file"):
        outbox(tmp_path / "file" / "o.db")


def test_a_disk_that_fails_loses_nothing_once_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = outbox(tmp_path / "o.db")
    commit = box._file.commit

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(box._file, "commit", full)
    for number in range(20):
        box.append("cam", b"%d" % number)
    until(lambda: box.problem is not None)
    assert "disk is full" in str(box.problem)
    assert (box.queued, box.dropped) == (20, 0)
    monkeypatch.setattr(box._file, "commit", commit)
    assert box.flush(5.0)
    assert payloads(box) == [b"%d" % number for number in range(20)]
    assert box.problem is None
    box.close()


def test_entries_gather_to_be_written_together(tmp_path: Path) -> None:
    commits: list[int] = []
    box = Outbox(
        tmp_path / "o.db", max_rows=1000, max_bytes=1 << 20, gather_s=0.3,
        on_commit=lambda: commits.append(1),
    )  # fmt: skip
    for number in range(20):
        box.append("cam", b"%d" % number)
        time.sleep(0.001)
    assert payloads(box) == []
    assert box.flush(5.0)
    assert len(payloads(box)) == 20
    assert len(commits) == 1
    box.append("cam", b"last")
    box.close()  # does not wait
    box = outbox(tmp_path / "o.db")
    assert payloads(box)[-1] == b"last"
    box.close()


def test_many_threads_may_append(tmp_path: Path) -> None:
    box = outbox(tmp_path / "o.db")

    def appends(name: bytes) -> None:
        for number in range(100):
            box.append("cam", name + b"%d" % number)

    threads = [threading.Thread(target=appends, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box.flush(5.0)
    found = payloads(box)
    for name in (b"a", b"b", b"c"):
        mine = [payload for payload in found if payload.startswith(name)]
        assert mine == [name + b"%d" % number for number in range(100)]
    box.close()


APPENDS = """
import sys
from pathlib import Path
from vision_edge.station.wires.outbox import Outbox
box = Outbox(Path(sys.argv[1]), max_rows=10**6, max_bytes=10**9)
for number in range(10**9):
    box.append("cam", sys.argv[2].encode() + b"-%d" % number)
    if number % 7 == 0 and box.flush(5.0):
        print(f"{sys.argv[2]}-{number}", flush=True)
"""


@pytest.mark.slow
def test_what_was_on_disk_survives_kill_9(tmp_path: Path) -> None:
    path, said = tmp_path / "o.db", []
    rng = random.Random(0)
    for cycle in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDS, str(path), str(cycle)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        said.extend(line.strip() for line in process.stdout if line.endswith("\n"))
        process.wait()
        process.stdout.close()
    box = Outbox(path, max_rows=10**6, max_bytes=10**9)
    found = [entry.payload.decode() for entry in box.read(box.start, 10**6)]
    assert set(said) <= set(found)
    assert found == sorted(found, key=lambda text: [int(part) for part in text.split("-")])
    box.close()


def test_a_payload_is_numbered_by_its_last_field() -> None:
    assert numbered(b'{"a":1}', 7) == b'{"a":1,"sequence":7}'
    assert numbered(b"{}", 7) == b'{"sequence":7}'
    assert encoded({"label": "Süß", "x": None}) == '{"label":"Süß","x":null}'.encode()
    for wrong in ({"x": float("nan")}, {"x": object()}, {"x": "\ud800"}):
        with pytest.raises(ValueError):
            encoded(wrong)
    assert source_of({"source_name": "a", "source": "b"}) == "a"
    assert source_of({"source": "b\ud800"}) == "b?"


def test_a_consumer_takes_only_what_is_new() -> None:
    rule = OnlyNew()
    numbers = [5, 6, 5, 6, 7, 7, 9]
    assert [n for n in numbers if rule.take({"station": "a", "sequence": n})] == [5, 6, 7, 9]
    assert rule.gaps == 1
    assert rule.take({"station": "b", "sequence": 1})
