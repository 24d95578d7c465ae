"""A process for what strangers sent ends at its limits, and its parent goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.limited_process import (
    LimitedProcess,
    LimitError,
    ProcessLimits,
    RefusedError,
    resident_mb,
)

BEHAVIOUR = """
import os, sys, time
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.limited_process import serve

def act(request):
    kind = request["do"]
    if kind == "loop":
        while True:
            pass
    if kind == "sleep":
        time.sleep(60)
    if kind == "allocate":
        return {"bytes": len(b"x" * request["bytes"])}
    if kind == "touch":
        held = [bytearray(b"x") * (1 << 20) for _ in range(request["mb"])]
        return {"pieces": len(held)}
    if kind == "write":
        open("file", "wb").write(b"x" * request["bytes"])
    if kind == "open":
        return {"files": len([open("/dev/null") for _ in range(request["files"])])}
    if kind == "die":
        os.kill(os.getpid(), request["signal"])
    if kind == "refuse":
        raise VisionEdgeError("not fit", fix="none")
    if kind == "flood":
        os.write(request["to"], b"x" * (1 << 27))
    if kind == "noise":
        print("a library says something")
    if kind == "folder":
        return {"folder": os.getcwd(), "files": os.listdir(), "open": os.listdir("/proc/self/fd")}
    return {"echo": request}

def main():
    serve(act)
"""
SMALL = ProcessLimits(memory_mb=300, file_mb=1, files=64)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedProcess]:
    (tmp_path / "behaviour.py").write_text(BEHAVIOUR)
    monkeypatch.syspath_prepend(tmp_path)
    with LimitedProcess("behaviour", SMALL, "the trial") as made:
        yield made


def test_it_answers_and_refuses_and_goes_on(process: LimitedProcess) -> None:
    assert process.ask({"do": "noise"}, 10)["echo"] == {"do": "noise"}
    with pytest.raises(RefusedError, match="not fit") as caught:
        process.ask({"do": "refuse"}, 10)
    assert caught.value.fix == "none"
    large = {"do": "echo", "text": "ä" * 300_000}
    assert process.ask(large, 10)["echo"] == large
    seen = process.ask({"do": "folder"}, 10)
    assert seen["files"] == []
    assert len(seen["open"]) <= 6
    process.close()
    assert not Path(seen["folder"]).exists()
    assert isinstance(RefusedError("x"), VisionEdgeError)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "loop"}, "longer than 0.5 s"),
        ({"do": "sleep"}, "longer than 0.5 s"),
        ({"do": "die", "signal": int(signal.SIGSEGV)}, "signal 11"),
        ({"do": "die", "signal": int(signal.SIGXCPU)}, "more of the processor"),
    ],
)
def test_it_is_ended_when_it_is_over_its_time_or_dies(
    process: LimitedProcess, request_: dict[str, Any], said: str
) -> None:
    process.ask({"do": "nothing"}, 10)
    began = time.monotonic()
    with pytest.raises(LimitError, match=said):
        process.ask(request_, 0.5)
    assert time.monotonic() - began < 5
    assert not Path(f"/proc/{process.pid}").exists()
    with pytest.raises(LimitError, match="has ended"):
        process.ask({"do": "nothing"}, 1)


def test_it_gets_no_more_memory_files_or_space_than_it_may(process: LimitedProcess) -> None:
    assert process.ask({"do": "allocate", "bytes": 50_000_000}, 10) == {"bytes": 50_000_000}
    for wish in (
        {"do": "allocate", "bytes": 1 << 30},
        {"do": "touch", "mb": 1000},
        {"do": "write", "bytes": 2_000_000},
        {"do": "open", "files": 100},
    ):
        with pytest.raises(RefusedError, match=r"memory|large|files"):
            process.ask(wish, 20)
    assert process.ask({"do": "open", "files": 20}, 10) == {"files": 20}


def test_what_it_holds_is_seen_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent ends it even where the system's own limit does not count."""
    (tmp_path / "behaviour.py").write_text(
        BEHAVIOUR.replace(
            'if kind == "touch":',
            'if kind == "shared":\n'
            "        import mmap\n"
            "        shared = mmap.mmap(-1, 1 << 30)\n"
            "        for at in range(0, 1 << 30, 4096):\n"
            "            shared[at] = 1\n"
            '    if kind == "touch":',
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    with (
        LimitedProcess("behaviour", SMALL, "the trial") as made,
        pytest.raises(LimitError, match="more than 300 MB"),
    ):
        made.ask({"do": "shared"}, 30)


def test_an_answer_without_end_and_one_that_is_none_are_no_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, said in (
        ("import os\ndef main():\n    while True: os.write(1, b'x' * 65536)", "answers with more"),
        (
            "import sys\ndef main():\n    print('[' * 10**6, flush=True); sys.stdin.read()",
            "no JSON",
        ),
        ("import sys\ndef main():\n    sys.exit('gone')", "status 1"),
    ):
        (tmp_path / "liar.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        with (
            LimitedProcess("liar", SMALL, "the trial") as made,
            pytest.raises(LimitError, match=said),
        ):
            made.ask({"do": "nothing"}, 20)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "behaviour.py").write_text(BEHAVIOUR)
    text = (
        "import sys; from vision_edge.runtime.system.limited_process import *\n"
        "made = LimitedProcess('behaviour', ProcessLimits(), 'it')\n"
        "made.ask({'do': 'nothing'}, 20); print(made.pid, flush=True)\n"
        "made.ask({'do': 'loop'}, 100)"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert parent.stdout is not None
    child = json.loads(parent.stdout.readline())
    assert resident_mb(child) > 0
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 5
    while _runs(child):
        assert time.monotonic() < until
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
