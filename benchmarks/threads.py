"""Threads of one inference, and whether they spin: latency, and processor time taken from others.

    python benchmarks/threads.py BUNDLE

One image at a time in ONNX Runtime on the CPU, with 1 and 2 threads, spinning and not, and in
OpenVINO where it is installed. The candidates take turns, as images that come one every 100 ms, as
in a station: a thread that spins burns the pause. Processor time is the process's own, so it counts
what a noisy machine does not change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.inference.options import SPINNING, SessionOptions
from vision_edge.runtime.inference.session import Session, open_session

_PERIOD = 0.1


def sessions(path: Path) -> dict[str, Session]:
    """Open every candidate."""
    bundle = load_bundle(path)
    opened = {
        f"onnxruntime, {threads} thread(s), spinning: {spinning}": (
            open_session(bundle, "cpu", options=SessionOptions(threads=threads, spinning=spinning))
        )
        for threads in (1, 2)
        for spinning in SPINNING
    }
    if find_spec("openvino"):
        for threads in (1, 2):
            name = f"openvino, {threads} thread(s)"
            opened[name] = open_session(bundle, "openvino", threads)
    return opened


def one_turn(session: Session, images: int) -> tuple[list[float], float]:
    """Embed images at a station's pace; return each latency and the processor time, in seconds."""
    size = session.spec.size
    pictures = np.random.default_rng(0).integers(0, 256, (images, 1, size, size, 3), dtype=np.uint8)
    latencies = []
    used = time.process_time()
    for picture in pictures:
        started = time.perf_counter()
        session.embed(picture)
        latencies.append(time.perf_counter() - started)
        time.sleep(max(0.0, _PERIOD - latencies[-1]))
    return latencies, time.process_time() - used


def measure(path: Path, rounds: int, images: int) -> dict[str, Any]:
    """Let the candidates take turns."""
    candidates = sessions(path)
    latencies: dict[str, list[float]] = {name: [] for name in candidates}
    used = dict.fromkeys(candidates, 0.0)
    for _ in range(rounds):
        for name, session in candidates.items():
            got, processor = one_turn(session, images)
            latencies[name] += got
            used[name] += processor
    return {
        name: {
            "latency_ms": round(1000 * statistics.median(values), 2),
            "latency_best_ms": round(1000 * min(values), 2),
            "processor_ms_an_image": round(1000 * used[name] / len(values), 2),
        }
        for name, values in latencies.items()
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    document = {**circumstances(), "results": measure(args.bundle, args.rounds, args.images)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "threads.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
