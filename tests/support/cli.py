"""Running `vision-edge` in this process or as its users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from vision_edge.cli.app import app
from vision_edge.runtime.errors import VisionEdgeError


def run_command(*arguments: object) -> str:
    """Run a command that must succeed; return all that it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused_command(*arguments: object) -> VisionEdgeError:
    """Run a command that a user got wrong; return what it was refused with."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code != 0, result.output
    assert isinstance(result.exception, VisionEdgeError), repr(result.exception)
    assert result.exception.fix
    return result.exception


def run_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed `vision-edge` in a process of its own."""
    entry = Path(sys.executable).with_name("vision-edge")
    return subprocess.run(
        [entry, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
