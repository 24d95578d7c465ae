"""The wires' outbox: what a verdict costs the line, and how soon it is on disk.

    python benchmarks/outbox_speed.py --out .out/bench --state DIR

DIR should be on the disk that a station would use. Rates are paced; "full" hands verdicts over as
fast as one thread can. "call" is the time that `verdict` takes in the line's thread, "on disk" the
time from there until the verdict's transaction has returned from fsync. "dumps" is the encoding of
the same records alone, and "fsync" an append of 4 KiB to a file on the same disk, side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import circumstances

from vision_edge.station.wires.outbox import Outbox
from vision_edge.station.wires.payload import encoded, source_of

RECORD: dict[str, Any] = {
    "id": "01JD0000000000000000000000", "station": "line-1", "source_name": "left",
    "time": "2026-01-01T00:00:00.000+00:00", "source": "rtsp://camera/stream", "frame": 123456,
    "age_ms": 41.237, "label": "valve body 40 mm", "score": 0.912345, "margin": 0.123456,
    "known": True, "nearest": "valve body 40 mm", "band": "accept", "stranger_rate": 0.000123,
    "part": {"first": 123440, "last": 123460, "frames": 20, "evidence": [123444, 123450, 123456]},
}  # fmt: skip


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum in microseconds."""
    ordered = sorted(seconds)
    return {
        "p50_us": round(1e6 * statistics.median(ordered), 1),
        "p99_us": round(1e6 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        "max_us": round(1e6 * ordered[-1], 1),
    }


def timed(action: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the quantiles of an action's time."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return quantiles(times)


class Commits:
    """Notes when entries have reached the disk."""

    def __init__(self) -> None:
        self.box: Outbox | None = None
        self.seen: list[tuple[float, int]] = []  # (time, number of the newest on disk)

    def __call__(self) -> None:
        """Be called after a commit, in the outbox's thread."""
        if self.box is not None:
            self.seen.append((time.perf_counter(), self.box.written))

    def delays(self, handed: list[float], first: int) -> list[float]:
        """Return the seconds from each verdict's handing over to the end of its commit."""
        delays: list[float] = []
        for ended, newest in self.seen:
            while len(delays) <= newest - first and len(delays) < len(handed):
                delays.append(ended - handed[len(delays)])
        return delays


def run(folder: Path, rate: float | None, count: int) -> dict[str, Any]:
    """Hand over `count` verdicts at so many a second (None: at once) and measure."""
    commits = Commits()
    path = folder / f"outbox-{rate}.db"
    box = Outbox(path, max_rows=10**7, max_bytes=10**10, on_commit=commits)
    commits.box, first = box, box.written + 1
    calls, handed = [], []
    began = time.perf_counter()
    for number in range(count):
        if rate is not None:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        started = time.perf_counter()
        box.append(source_of(RECORD), encoded({**RECORD, "frame": number}))
        handed.append(time.perf_counter())
        calls.append(handed[-1] - started)
    if not box.flush(120.0):
        raise SystemExit("the disk does not keep up")
    total = time.perf_counter() - began
    box.close()
    return {
        "rate": rate or "full",
        "verdicts": count,
        "verdicts_per_s": round(count / total),
        "call": quantiles(calls),
        "on_disk": quantiles(commits.delays(handed, first)),
        "commits": len(commits.seen),
        "dropped": box.dropped,
    }


def disk(folder: Path) -> dict[str, float]:
    """Return the quantiles of an append of 4 KiB with fsync."""
    with (folder / "fsync").open("wb", buffering=0) as stream:

        def append() -> None:
            stream.write(b"x" * 4096)
            os.fsync(stream.fileno())

        return timed(append, 200)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    parser.add_argument("--state", type=Path, help="folder on the disk to measure")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a paced run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.state) as name:
        folder = Path(name)
        results = {
            **circumstances(),
            "dumps": timed(lambda: encoded(RECORD), 5000),
            "fsync_before": disk(folder),
            "runs": [
                run(folder, rate, round(rate * options.seconds)) for rate in (10.0, 100.0, 1000.0)
            ]
            + [run(folder, None, 50_000)],
            "fsync_after": disk(folder),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1)
    (options.out / "outbox_speed.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
