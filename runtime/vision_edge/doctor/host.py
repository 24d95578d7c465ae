"""The machine that is examined: its files, its programs, and a Python beside this one.

What may hang or crash runs in a process of its own, with a limit: importing a broken TensorRT can
take the whole interpreter down.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

_MARK = "vision-edge-doctor:"
_HEADER = (
    "import json, os, sys\n"
    "sys.path = [place for place in sys.path if place not in ('', os.getcwd())]\n"
    f"tell = lambda **facts: print('\\n{_MARK}' + json.dumps(facts, default=str))\n"
)
IMPORT_SECONDS = 60.0
"""Seconds that an import may take: a small board reads slowly from its card the first time."""


@dataclass(frozen=True)
class Answer:
    """What a piece of Python in another process said.

    Attributes:
        state: `"ok"`; `"absent"` (the module is not installed), `"failed"` (it raised),
            `"crashed"` (the process died), or `"timeout"`.
        facts: What it told.
        reason: Why it did not, in a line.
    """

    state: Literal["ok", "absent", "failed", "crashed", "timeout"]
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Host:
    """The machine.

    Attributes:
        root: Where its file system is; another folder than `/` only in tests.
    """

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """Return a path of the machine, such as `"/proc/cpuinfo"`."""
        return self.root / name.lstrip("/")

    @property
    def is_jetson(self) -> bool:
        """Whether it is a Jetson."""
        return self.text("/etc/nv_tegra_release") is not None

    def text(self, name: str) -> str | None:
        """Return a file's text without the zero bytes of a device tree; None if unreadable."""
        try:
            data = self.path(name).read_bytes()
        except OSError:
            return None
        return data.decode("utf-8", "replace").replace("\0", "").strip()

    def command(self, *line: str, seconds: float = 10.0) -> str | None:
        """Return what a program prints; None if it is absent, fails or takes too long."""
        if shutil.which(line[0]) is None:
            return None
        try:
            done = subprocess.run(
                line, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def ask(module: str, code: str, seconds: float = IMPORT_SECONDS) -> Answer:
    """Run Python in another process.

    Args:
        module: What must be installed for it.
        code: Ends with a call of `tell(name=value, ...)`, which sends JSON values back.
        seconds: How long it may take.
    """
    return run_python(code, seconds) if is_installed(module) else Answer("absent")


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def run_python(code: str, seconds: float = IMPORT_SECONDS, *arguments: str) -> Answer:
    """Run Python in another process, whatever is installed; see `ask`."""
    line = [sys.executable, "-c", _HEADER + code, *arguments]
    try:
        done = subprocess.run(
            line,
            capture_output=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONFAULTHANDLER": "0"},
        )
    except subprocess.TimeoutExpired:
        return Answer("timeout", reason=f"no answer within {seconds:g} s")
    except OSError as error:
        return Answer("failed", reason=str(error))
    told = [row for row in done.stdout.decode("utf-8", "replace").splitlines() if _MARK in row]
    if told:  # what happens while the interpreter ends is no concern of ours
        return Answer("ok", json.loads(told[-1].removeprefix(_MARK)))
    if done.returncode < 0:
        return Answer("crashed", reason=f"killed by signal {-done.returncode}")
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return Answer("failed", reason=said[-1] if said else f"status {done.returncode}")
