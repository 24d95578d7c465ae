"""The real libraries, each in a process of its own in a new home: what they leave, whom they call.

The process notes Python's own sockets by an audit hook, and those that a library's native code
holds open by its table of files; what was written is looked at when it has ended.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT
from support.runtime import MAIN

from vision_edge.runtime.system.quiet_libraries import VARIABLES, keep_libraries_quiet

SESSION = """
from vision_edge.runtime import load_bundle, open_session
open_session(load_bundle(sys.argv[1]), "cpu", threads=1)
"""
EXPORT = """
import pathlib
from vision_edge.export.graph.cpu_session import cpu_session
cpu_session(pathlib.Path(sys.argv[1], "model.onnx").read_bytes())
"""
OPENVINO = """
from vision_edge.runtime.errors import require
require("openvino").Core()
"""
BENCH = f"""
sys.argv = ["vision-edge", "bench", sys.argv[1], "--provider", "cpu"]
try:
    {MAIN.replace("; ", chr(10) + "    ")}
except SystemExit as end:
    assert not end.code, end.code
"""
HOOKED = """
import sys
calls = []
sys.addaudithook(lambda event, args: calls.append(event)
                 if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto") else None)
"""


ENDS = """
import os, time
for _ in range(20):
    time.sleep(0.02)
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    calls += [os.readlink(link) for link in links if os.path.lexists(link)
              and os.readlink(link).startswith("socket")]
assert not calls, calls
"""


def left_in(home: Path, code: str, *arguments: Path, **changes: str) -> list[str]:
    """Run Python in a new home where nothing was chosen; return the files that it left there."""
    home.mkdir()
    chosen = {"CI", "XDG_CACHE_HOME", *VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    done = subprocess.run(
        [sys.executable, "-c", HOOKED + code + ENDS, *map(str, arguments)],
        env={**kept, "HOME": str(home), "OMP_NUM_THREADS": "1", **changes},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("code", [SESSION, EXPORT, BENCH], ids=["library", "export", "command"])
def test_onnx_runtime_leaves_and_calls_nothing(
    tmp_path: Path, bundle_path: Path, code: str
) -> None:
    assert left_in(tmp_path / "home", code, bundle_path) == []


def test_openvino_leaves_and_calls_nothing(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert left_in(tmp_path / "home", OPENVINO) == []


def test_who_asks_for_it_keeps_it(tmp_path: Path, bundle_path: Path) -> None:
    """That the variable decides, and that this test sees what it looks for."""
    if onnx_runtime_is_silent():
        pytest.skip("this ONNX Runtime has no telemetry on Linux")
    left = left_in(tmp_path / "home", SESSION, bundle_path, ORT_DISABLE_TELEMETRY="0")
    assert [name for name in left if "onnxruntime" in name]


def test_a_choice_that_was_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("0", "1", "yes", ""):
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
        keep_libraries_quiet()
        assert os.environ["ORT_DISABLE_TELEMETRY"] == value
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    keep_libraries_quiet()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_containers_and_the_service_say_so_too() -> None:
    for name in ("Dockerfile", "Dockerfile.jetson", "vision-edge.service"):
        assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / "examples" / "deploy" / name).read_text()


def test_these_tests_and_the_benchmarks_are_as_quiet() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"]
    imports = [
        path.relative_to(ROOT)
        for folder in ("benchmarks", "examples", "runtime", "export", "toolkit")
        for path in (ROOT / folder).rglob("*.py")
        if any(
            line.startswith(("import onnxruntime", "from onnxruntime"))
            for line in path.read_text().splitlines()
        )
    ]
    assert [str(path) for path in imports] == ["runtime/vision_edge/doctor/engines.py"]


@pytest.mark.slow
def test_no_name_is_looked_up_below_python(tmp_path: Path, bundle_path: Path) -> None:
    """ONNX Runtime looks up its collector some nine seconds after a session opens.

    Two processes sleep side by side: ours, and one where its user asked for telemetry.
    """
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("strace is not installed")
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", *VARIABLES}}
    code = "import sys, time\n" + SESSION + "\ntime.sleep(11)\n"
    running = {}
    for choice in ("ours", "asked"):
        home = tmp_path / choice
        home.mkdir()
        asked = {"ORT_DISABLE_TELEMETRY": "0"} if choice == "asked" else {}
        own = {"HOME": str(home), "XDG_CACHE_HOME": "", "OMP_NUM_THREADS": "1", **asked}
        watched = [tracer, "-f", "-qq", "-e", "trace=socket", "-o", f"{home}.trace"]
        line = [*watched, sys.executable, "-c", code, str(bundle_path)]
        running[choice] = subprocess.Popen(line, env={**kept, **own}, stderr=subprocess.PIPE)
    for process in running.values():
        _, errors = process.communicate(timeout=60)
        if b"ptrace" in errors:
            pytest.skip("processes may not be traced here")
        assert process.returncode == 0, errors
    called = {name: "AF_INET" in (tmp_path / f"{name}.trace").read_text() for name in running}
    assert not called["ours"]
    assert called["asked"] or onnx_runtime_is_silent()


def onnx_runtime_is_silent() -> bool:
    """Whether this ONNX Runtime has no telemetry on Linux, as those before 1.32."""
    import onnxruntime

    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 32)
