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
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)
sys.exit(status)
"""


@dataclass(frozen=True)
class Measured:
    """Wall seconds, peak resident memory in MB, and seconds of all processors together."""

    seconds: float
    peak_mb: float
    processor_seconds: float


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
    peak, used = map(float, done.stdout.splitlines()[-1].split())
    return Measured(time.monotonic() - started, peak, used)


def circumstances() -> dict[str, str]:
    """Return the date and the machine, for a report."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }
