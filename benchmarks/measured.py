"""Run a `vision-edge` command and measure it from outside."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date

_MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(status)
"""


@dataclass(frozen=True)
class Measured:
    """Wall seconds and peak resident memory in MB."""

    seconds: float
    peak_mb: float


def command(*arguments: object) -> Measured:
    """Run `vision-edge` with arguments.

    A small process in between reads the peak: a child forked from a large one inherits its size.

    Raises:
        SystemExit: If the command fails.
    """
    line = [sys.executable, "-c", "from vision_edge.cli.app import main; main()"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *line, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"vision-edge {arguments[0]} failed with status {done.returncode}")
    return Measured(time.monotonic() - started, float(done.stdout.splitlines()[-1]))


def circumstances() -> dict[str, str]:
    """Return the date and the machine, for a report."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }
