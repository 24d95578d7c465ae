"""Memory of `vision-edge run` over 100,000 frames, with every sink open.

    python benchmarks/memory.py

A video of small coloured parts is judged by a real command with a rotating JSONL file, a table and
a review folder; its resident memory, threads and descriptors are read from outside every second.
The model is timm's smallest vision transformer: what could grow is the pipeline, not the model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import timm
from measured import circumstances, command
from safetensors.torch import save_file

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.video_writer import VideoWriter

BACKBONE, SIDE, PRODUCTS, LENGTH = "test_vit", 96, 8, 300
MAIN = "from vision_edge.cli.app import main; main()"
WARM = 0.2
"""Share of the run after which memory is expected to stand still."""


def part(number: int) -> Image:
    """Return part `number`: a coloured patchwork, uint8 (SIDE, SIDE, 3), BGR."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.kron(patches, np.ones((SIDE // 6, SIDE // 6, 1), np.uint8))


def prepare_inputs(folder: Path, frames: int) -> list[str]:
    """Make bundle, gallery and video; return the arguments of the command to watch."""
    weights, bundle, gallery = folder / "weights.safetensors", folder / "bundle", folder / "g.db"
    save_file(timm.create_model(BACKBONE).state_dict(), weights)
    command("export", "--backbone", BACKBONE, "--weights", weights, "--out", bundle)
    for number in range(PRODUCTS):
        path = folder / f"{number}.jpg"
        path.write_bytes(encode_jpeg(part(number)))
        command("register", bundle, f"part {number}", path, "--gallery", gallery, "--force")
    writer = VideoWriter(folder / "parts.mp4", 30.0)
    shown = [part(number) for number in range(2 * PRODUCTS)]
    for frame in range(frames):
        writer.write(shown[frame // LENGTH % len(shown)])
    writer.close()
    sinks = ["--jsonl", folder / "v.jsonl", "--rotate-mb", 1, "--csv", folder / "v.csv"]
    line = ["run", bundle, folder / "parts.mp4", "--gallery", gallery, *sinks]
    return [str(word) for word in (*line, "--review", folder / "review", "--threads", 1)]


def watch(line: list[str], folder: Path) -> list[tuple[float, float, int, int]]:
    """Run the command; return seconds, MB, threads and descriptors, once a second."""
    samples = []
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", MAIN, *line], stdout=log, stderr=log)
        watched, started = psutil.Process(process.pid), time.monotonic()
        while process.poll() is None:
            try:
                memory = watched.memory_info().rss / 1e6
                counts = watched.num_threads(), watched.num_fds()
            except psutil.Error:
                break
            samples.append((time.monotonic() - started, memory, *counts))
            time.sleep(1)
    if process.wait():
        raise SystemExit((folder / "log.txt").read_text())
    return samples


def summary(samples: list[tuple[float, float, int, int]], frames: int) -> dict[str, Any]:
    """Return what grew after the warm-up, per 100,000 frames by a straight line."""
    steady = np.array(samples[int(WARM * len(samples)) : -1])
    slope = np.polyfit(steady[:, 0], steady[:, 1], 1)[0] * samples[-1][0] * 100_000 / frames
    tenth = max(len(steady) // 10, 1)
    return {
        "seconds": round(samples[-1][0]),
        "first_tenth_mb": round(float(steady[:tenth, 1].mean()), 1),
        "last_tenth_mb": round(float(steady[-tenth:, 1].mean()), 1),
        "growth_mb_per_100000_frames": round(float(slope), 2),
        "threads": [int(steady[:, 2].min()), int(steady[:, 2].max())],
        "descriptors": [int(steady[:, 3].min()), int(steady[:, 3].max())],
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        line = prepare_inputs(folder, args.frames)
        samples = watch(line, folder)
        verdicts = sum(1 for _ in (folder / "v.csv").open()) - 1
    document = {**circumstances(), "verdicts": verdicts, **summary(samples, args.frames)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "memory.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
