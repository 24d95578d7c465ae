"""The command as a whole: light to start, clear when it fails, never a traceback."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from support.runtime import MAIN, invoke, invoked, python, vision_edge

from vision_edge.cli.commands import announced

COMMANDS = {command.name: command for command in announced()}
HEAVY = ["torch", "cv2", "onnxruntime", "pydantic", "numpy", "timm", "onnx", "matplotlib"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_app_and_its_help(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(importlib.import_module(command.module).app, typer.Typer)
    assert command.summary.endswith(".")
    for flag in ("--help", "-h"):
        assert f"vision-edge {name}" in invoked(name, flag)


def test_the_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
try:
    {MAIN}
finally:
    print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = python(code, "--help")
    assert done.returncode == 0
    assert "HEAVY []" in done.stdout
    assert all(f" {name} " in done.stdout for name in COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    assert invoked("--version") == f"vision-edge {version('vision-edge')}\n"


def newer_typer() -> bool:
    return tuple(map(int, typer.__version__.split(".")[:2])) >= (0, 20)


@pytest.mark.parametrize(
    ("arguments", "wrong", "right"),
    [(["galery"], "galery", "gallery"), (["gallery", "lst"], "lst", "list")],
)
def test_an_unknown_command_ends_with_status_2(
    arguments: list[str], wrong: str, right: str
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert f"No such command '{wrong}'" in result.output
    assert not newer_typer() or f"Did you mean '{right}'?" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument"),
        (["run", "b", "s", "--galery", "g"], "No such option"),
        (["run", "b", "s"], "Missing option"),
        (["run", "b", "s", "--gallery", "g", "--max-frames", "0"], "Invalid value"),
        (["run", "b", "s", "--gallery", "g", "--threads", "many"], "Invalid value"),
        (["gallery", "rollback", "x", "--gallery", "g"], "Invalid value"),
    ],
)
def test_a_wrong_call_ends_with_status_2_and_says_what_is_wrong(
    arguments: list[str], message: str
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def assert_failed(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Check that a command failed as one should: status 1, what and how, nothing else."""
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr


def test_an_error_says_what_and_how_on_stderr(bundle_path: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.gallery"
    done = vision_edge("run", bundle_path, tmp_path, "--gallery", absent)
    assert_failed(done, f"{absent}: there is no gallery here", "register a product first")
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--jsonl", "{folder}"], "Is a directory"),
        (["--jsonl", "{file}/x.jsonl"], "registered.gallery"),
        (["--save", "{file}/x.mp4"], "registered.gallery"),
    ],
)
def test_a_place_that_cannot_be_written_is_no_traceback(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path, options: Any, reason: str
) -> None:
    filled = [text.format(folder=tmp_path, file=registered) for text in options]
    done = vision_edge("run", bundle_path, shots, "--gallery", registered, *filled)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_video_is_one_clear_error_without_opencvs_own(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    (tmp_path / "line.mp4").write_text("not a video\n" * 50)
    done = vision_edge("run", bundle_path, tmp_path / "line.mp4", "--gallery", registered)
    assert done.returncode == 1
    introduction, error, fix = done.stderr.splitlines()
    assert "3 product(s)" in introduction
    assert error == f"error: {tmp_path}/line.mp4: OpenCV cannot open it as a video"
    assert fix.startswith("  fix: ")


def test_a_label_that_the_terminal_cannot_show_is_escaped(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    latin = {"PYTHONIOENCODING": "latin-1"}
    gallery = ["--gallery", tmp_path / "g"]
    done = vision_edge("register", bundle_path, "Nut ⚙", shots, *gallery, env=latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"'Nut \u2699'" in done.stdout
    done = vision_edge("run", bundle_path, shots, *gallery, "--closed-set", env=latin)
    assert done.returncode == 0
    assert done.stdout.count(r"Nut \u2699") == 3


def test_a_reader_that_goes_away_is_no_traceback(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    command = [sys.executable, "-c", MAIN, "run", bundle_path, shots, "--gallery", registered]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        stderr = process.stderr.read()
    assert process.returncode in (1, 141)
    assert "Traceback" not in stderr


INTERRUPTED = f"""
import time
from vision_edge.cli import gallery

@gallery.app.command()
def wait():
    print("waiting", flush=True)
    time.sleep(60)

{MAIN}
"""


def test_an_interrupt_ends_with_status_130_and_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "gallery", "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        stderr = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in stderr


BLOCKED = """
import sys
blocked = sys.argv.pop(1)

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize(("module", "extra"), [("cv2", "edge"), ("onnxruntime", "edge")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    bundle_path: Path, shots: Path, tmp_path: Path, module: str, extra: str
) -> None:
    arguments = ["register", bundle_path, "nut", shots, "--gallery", tmp_path / "g"]
    done = python(BLOCKED + MAIN, module, *arguments)
    assert_failed(done, repr(module), f'pip install "vision-edge[{extra}]"')


def test_a_command_of_the_server_names_the_servers_extra(tmp_path: Path) -> None:
    done = python(BLOCKED + MAIN, "torch", "export", "--out", tmp_path / "bundle")
    assert_failed(done, "'torch'", 'pip install "vision-edge[server]"')
