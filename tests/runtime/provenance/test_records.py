"""Signed records: what is changed in them is found, and what ends early is gone on with."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from support.provenance import Maker, make_maker
from support.runtime import invoke, python

pytest.importorskip("cryptography")

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.record_chain import RESERVE, RecordChain, RecordsFullError
from vision_edge.runtime.provenance.record_check import check_folder, check_records
from vision_edge.runtime.provenance.record_lines import Line, files_of, hash_of
from vision_edge.runtime.provenance.statement import utc_now


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return make_maker(tmp_path_factory.mktemp("maker"), ("records",), "press-2")


def chain(folder: Path, maker: Maker, most: int = 1 << 20, size: int = 1 << 18) -> RecordChain:
    return RecordChain(folder, "press-2", maker.key, size, most)


def written(folder: Path, maker: Maker, files: int = 1, lines: int = 5) -> Path:
    """Write files of verdicts, each sealed; return the folder."""
    made = chain(folder, maker)
    for file in range(files):
        for number in range(lines):
            made.append("verdict", {"label": f"bolt – {file}.{number}", "score": 0.5})
        made.seal("shift")
    made.close()
    return folder


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_was_written_is_found_sound(maker: Maker, tmp_path: Path) -> None:
    found = check_folder(written(tmp_path / "r", maker, files=3), maker.store)
    assert [one.sound for one in found] == [True] * 3
    assert [one.sealed.number for one in found if one.sealed] == [1, 2, 3]
    assert found[0].kinds == {"open": 1, "verdict": 5, "seal": 1}
    assert found[0].key is not None
    assert found[0].key.name == "press-2"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_the_chain_and_the_seal_are_checked_by_hand(maker: Maker, tmp_path: Path) -> None:
    """No code of ours: each line's hash by sha256sum, the sealed bytes by head."""
    [path] = files_of(written(tmp_path / "r", maker))
    rows = lines_of(path)
    for before, after in pairwise(rows):
        command = ["sha256sum"]
        done = subprocess.run(command, input=before[:-1], capture_output=True, check=True)
        assert json.loads(after)["prev"] == done.stdout.split()[0].decode()
    envelope = json.loads(rows[-1])["body"]["envelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    sealed = subprocess.run(["head", "-n", "-1", str(path)], capture_output=True, check=True)
    done = subprocess.run(["sha256sum"], input=sealed.stdout, capture_output=True, check=True)
    assert statement["subject"][0]["digest"]["sha256"] == done.stdout.split()[0].decode()


def changed(rows: list[bytes]) -> list[bytes]:
    rows[2] = rows[2].replace(b"0.5", b"0.9")
    return rows


def swapped(rows: list[bytes]) -> list[bytes]:
    rows[2], rows[3] = rows[3], rows[2]
    return rows


def rewritten(rows: list[bytes]) -> list[bytes]:
    """Change a line and make the chain whole again: only the seal is in the way."""
    rows = changed(rows)
    for k in range(3, len(rows)):
        line = Line.from_bytes(rows[k][:-1])
        again = Line(line.number, line.time, line.kind, hash_of(rows[k - 1][:-1]), line.body)
        rows[k] = again.to_bytes() + b"\n"
    return rows


ALTERED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int | None, str]] = {
    "changed": (changed, 3, "line 3 was changed"),
    "removed": (lambda rows: rows[:2] + rows[3:], 3, "line 3 is missing, or moved"),
    "swapped": (swapped, 3, "line 3 is missing, or moved"),
    "put in": (lambda rows: rows[:3] + rows[2:], 4, "line 4 is missing, or moved"),
    "no record": (lambda rows: [*rows[:2], b"{}\n", *rows[3:]], 3, "line 3 is no record"),
    "cut off": (lambda rows: rows[:-3], None, "not sealed: its last line is 4"),
    "seal cut off": (lambda rows: rows[:-1], None, "not sealed: its last line is 6"),
    "torn": (lambda rows: [*rows[:4], rows[4][:20]], 5, "line 5 is torn: 20 bytes"),
    "after the seal": (lambda rows: [*rows, rows[-1]], 8, "line 8 comes after the seal"),
    "rewritten": (rewritten, None, "they were rewritten"),
    "empty": (lambda rows: [], None, "not one line"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_found_and_the_first_line_named(
    name: str, maker: Maker, tmp_path: Path
) -> None:
    alter, line, said = ALTERED[name]
    [path] = files_of(written(tmp_path / "r", maker))
    path.write_bytes(b"".join(alter(lines_of(path))))
    found = check_records(path, maker.store)
    assert not found.sound
    assert said in found.problem
    assert found.line == line
    result = invoke("records", "verify", path, "--trust", maker.store.path)
    assert result.exit_code == 1
    assert said in result.output
    open_end = invoke("records", "verify", path, "--trust", maker.store.path, "--unsealed")
    allowed = name in ("cut off", "seal cut off", "torn")
    assert open_end.exit_code == (0 if allowed else 1)
    assert ("NOT SOUND" in open_end.output) is not allowed


def test_a_missing_file_and_a_foreign_seal(maker: Maker, tmp_path: Path) -> None:
    folder = written(tmp_path / "r", maker, files=3)
    second = files_of(folder)[1]
    aside = second.rename(tmp_path / second.name)
    found = check_folder(folder, maker.store)
    assert [one.sound for one in found] == [True, False]
    assert "a file is missing" in found[1].problem
    shutil.move(aside, second)
    other = make_maker(tmp_path / "other", ("records",))
    with_other = [one.problem for one in check_folder(folder, other.store)]
    assert all("not trusted here" in problem for problem in with_other)
    maker_of_bundles = make_maker(tmp_path / "third", ("bundle",))
    maker_of_bundles.store.trust(maker.key.public, "press-2", purposes=["bundle"])
    assert "not for records" in check_records(second, maker_of_bundles.store).problem
    first, last = files_of(folder)[0], files_of(folder)[2]
    rows = lines_of(first)
    first.write_bytes(b"".join([*rows[:-1], lines_of(last)[-1]]))
    assert not check_records(first, maker.store).sound, "another file's seal"
    with pytest.raises(ProvenanceError, match="no file of records"):
        check_folder(tmp_path / "other", maker.store)


# --- ends that nobody planned ---------------------------------------------------------------------

WRITES = """
import sys
from pathlib import Path
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.record_chain import RecordChain
chain = RecordChain(Path(sys.argv[1]), "press-2", PrivateKey.from_file(Path(sys.argv[2])),
                    1 << 22, 1 << 24)
for number in range(1_000_000):
    chain.append("verdict", {"number": number})
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_wrote(maker: Maker, tmp_path: Path) -> None:
    folder, told = tmp_path / "r", -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITES, str(folder), str(maker.path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            with contextlib.suppress(OSError):  # it is at most a page of numbers ahead
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            for _ in range(150):
                told = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    last = check_folder(folder, maker.store)[-1]
    assert last.unsealed
    assert last.lines > 0
    with files_of(folder)[-1].open("ab") as file:
        file.write(b'{"n": 99, "to')  # as a power cut leaves it
    made = chain(folder, maker)
    made.append("verdict", {"number": "after"})
    made.close()
    found = check_folder(folder, maker.store)
    assert [one.problem for one in found] == [""] * len(found)
    assert sum(one.kinds["recovered"] for one in found) == 3
    bodies = [json.loads(row)["body"] for path in files_of(folder) for row in lines_of(path)]
    numbers = [body["number"] for body in bodies if "number" in body]
    assert numbers.count(told) >= 1
    assert {"torn_bytes": 13} in bodies


def test_an_altered_unsealed_file_is_not_sealed_by_the_next_start(
    maker: Maker, tmp_path: Path
) -> None:
    [path] = files_of(written(tmp_path / "r", maker))
    path.write_bytes(b"".join(changed(lines_of(path))[:-1]))
    made = chain(tmp_path / "r", maker)
    made.append("verdict", {})
    made.close()
    first, second = check_folder(tmp_path / "r", maker.store)
    assert "line 3 was changed" in first.problem
    assert "line 4 does not follow" in lines_of(second.path)[0].decode()


FULL = """
import resource, signal, sys
from pathlib import Path
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.record_chain import RecordChain
chain = RecordChain(Path(sys.argv[1]), "press-2", PrivateKey.from_file(Path(sys.argv[2])),
                    1 << 20, 1 << 24)
chain.append("verdict", {"number": 0})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, most))  # a write is cut short, as on a full disk
for number in range(1, 20):
    try:
        chain.append("verdict", {"number": number, "more": 50 * "x"})
    except OSError as error:
        print(number, error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
chain.append("verdict", {"number": 20})
chain.close()
"""


def test_a_disk_that_was_full_leaves_a_whole_file_that_tells_of_it(
    maker: Maker, tmp_path: Path
) -> None:
    done = python(FULL, tmp_path / "r", maker.path)
    assert done.returncode == 0, done.stderr
    refused = len(done.stdout.splitlines())
    assert refused > 5
    [found] = check_folder(tmp_path / "r", maker.store)
    assert found.sound, found.problem
    assert found.not_written == {"verdict": refused}
    assert found.kinds["verdict"] == 21 - refused


def test_nothing_is_deleted_and_what_does_not_fit_is_counted(maker: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    made = chain(folder, maker, most=RESERVE + 6000, size=2000)
    for number in range(60):
        with contextlib.suppress(RecordsFullError):
            made.append("verdict", {"number": number})
    lost = made.lost["verdict"]
    assert 0 < lost < 60
    made.sync()
    held = sum(path.stat().st_size for path in folder.iterdir())
    assert held < RESERVE + 6000
    for path in files_of(folder)[:-1]:
        path.rename(tmp_path / path.name)
    made.append("verdict", {"number": "after"})
    made.close()
    found = check_folder(folder, maker.store)
    assert all(one.sound for one in found), [one.problem for one in found]
    assert sum(one.not_written["verdict"] for one in found) == lost
    for path in files_of(folder):
        path.rename(tmp_path / path.name)  # all are taken away: the chain goes on
    again = chain(folder, maker)
    again.append("verdict", {})
    again.close()
    shutil.copy(files_of(folder)[0], tmp_path)
    assert all(one.sound for one in check_folder(tmp_path, maker.store))


FILLS = """
import os, sys, time
from pathlib import Path
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.record_chain import RESERVE, RecordChain, RecordsFullError
chain = RecordChain(Path(sys.argv[1]), "press-2", PrivateKey.from_file(Path(sys.argv[2])),
                    1 << 20, RESERVE + 3000)
for number in range(40):
    try:
        chain.append("verdict", {"number": number})
    except RecordsFullError:
        time.sleep(0 if number < 39 else 1.1)  # what is lost is kept once a second
try:
    chain.append("verdict", {"number": 40})
except RecordsFullError:
    print(chain.lost["verdict"], flush=True)
    os.kill(os.getpid(), 9)
"""


def test_what_did_not_fit_is_told_though_the_writer_was_killed(
    maker: Maker, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    done = python(FILLS, folder, maker.path)
    lost = int(done.stdout)
    assert lost > 5, done.stderr
    full = chain(folder, maker, most=RESERVE + 3000)
    with contextlib.closing(full), pytest.raises(RecordsFullError):
        full.append("verdict", {"number": 41})
    for _ in range(2):  # and it is told once
        with contextlib.closing(chain(folder, maker)) as again:
            again.append("verdict", {"number": "after"})
    found = check_folder(folder, maker.store)
    assert all(one.sound for one in found), [one.problem for one in found]
    assert sum(one.not_written["verdict"] for one in found) == lost + 1
    told = b"".join(path.read_bytes() for path in files_of(folder))
    assert b"counted up to a second before the process ended" in told


def test_a_pipe_and_a_link_are_no_records(maker: Maker, tmp_path: Path) -> None:
    [path] = files_of(written(tmp_path / "r", maker))
    aside = path.rename(tmp_path / "aside")
    os.mkfifo(path)
    with pytest.raises(ProvenanceError, match="cannot be read"):
        check_records(path, maker.store)
    path.unlink()
    path.symlink_to(aside)
    with pytest.raises(ProvenanceError, match="cannot be read"):
        check_folder(path.parent, maker.store)


def test_a_folder_has_one_writer(maker: Maker, tmp_path: Path) -> None:
    made = chain(tmp_path / "r", maker)
    with pytest.raises(ProvenanceError, match="records of one station"):
        chain(tmp_path / "r", maker)
    made.close()
    chain(tmp_path / "r", maker).close()
    assert not files_of(tmp_path / "r"), "nothing was said, so there is no file"


def test_a_key_that_expired_since_still_seals_what_it_sealed(maker: Maker, tmp_path: Path) -> None:
    mine = make_maker(tmp_path / "mine", ("records",))
    [path] = files_of(written(tmp_path / "r", mine))
    time.sleep(1.1)
    begin = utc_now() - timedelta(days=9)
    mine.store.trust(
        mine.key.public, "p", not_before=begin, not_after=utc_now(), purposes=["records"]
    )
    assert check_records(path, mine.store).sound
    mine.store.trust(
        mine.key.public, "p", not_before=begin, not_after=begin + timedelta(days=1),
        purposes=["records"],
    )  # fmt: skip
    assert "had expired" in check_records(path, mine.store).problem
    assert PrivateKey.from_file(mine.path).keyid == mine.key.keyid
