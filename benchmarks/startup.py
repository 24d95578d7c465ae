"""How long the command line and the runtime take to load: medians of many cold processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measured import circumstances

CASES = {
    "python -c pass": "pass",
    "import vision_edge.runtime": "import vision_edge.runtime",
    "every public name of vision_edge.runtime": "from vision_edge.runtime import *",
    "vision-edge --help": "import sys; sys.argv = ['vision-edge', '--help']; "
    "from vision_edge.cli.app import main; main()",
    "vision-edge run --help": "import sys; sys.argv = ['vision-edge', 'run', '--help']; "
    "from vision_edge.cli.app import main; main()",
}


def seconds(code: str, repeats: int) -> list[float]:
    """Return wall seconds of `python -c code`, after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - started)
    return times[1:]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    figures = {name: seconds(code, args.repeats) for name, code in CASES.items()}
    document = {
        **circumstances(),
        "median_seconds": {n: round(statistics.median(t), 3) for n, t in figures.items()},
        "best_seconds": {n: round(min(t), 3) for n, t in figures.items()},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "startup.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
