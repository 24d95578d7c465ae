"""ONNX Runtime's CUDA sessions beside PyTorch, eager and compiled, on one NVIDIA GPU.

    python benchmarks/gpu_sessions.py --out .out/bench

ViT-B/16 and ViT-Tiny of random weights embed 1 and 64 images: uint8 in the computer's memory in,
float32 in the computer's memory out, so copies count. All candidates of a backbone and batch size
take turns, in another order each round; the median of rounds is reported, and every candidate's
answers are compared with float32 PyTorch on batches of different images. Candidates are prepared
until the time is up, the wanted ones first; those left out are listed. Without a GPU the status is
1; `--cpu` tries the program itself, with a small model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_candidates import (
    DTYPES,
    Embed,
    Served,
    Subject,
    agreement,
    candidates,
    make_subject,
    on,
)

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.generated_scenes import generated_scenes

BACKBONES = ("vit_tiny_patch16_224", "vit_base_patch16_224")
PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")
_SHARE = 0.22  # of the time goes into measuring; the rest may go into compiling


@dataclass
class Cell:
    """One candidate at one batch size."""

    name: str
    embed: Embed
    prepared_s: float
    check: dict[str, float | bool]
    rounds: list[float] = field(default_factory=list)

    def row(self, backbone: str, batch: int) -> dict[str, Any]:
        """Return the figures, times in milliseconds a batch."""
        middle = statistics.median(self.rounds)
        return {
            "backbone": backbone,
            "batch": batch,
            "candidate": self.name,
            "ms": round(1000 * middle, 3),
            "ms_best": round(1000 * min(self.rounds), 3),
            "images_per_s": round(batch / middle, 1),
            "prepared_s": round(self.prepared_s, 1),
            **self.check,
        }


class Clock:
    """The time that the whole program may take."""

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self.seconds = seconds
        self.longest: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.seconds - (time.monotonic() - self.started)

    def allows(self, kind: str, reserve: float) -> bool:
        """Whether a preparation of that kind is likely to end with `reserve` seconds to spare."""
        return self.left - self.longest.get(kind, 0.0) > reserve


def prepare_cells(
    subject: Subject,
    batch: int,
    batches: list[Image],
    clock: Clock,
    until: float,
    device: str,
    skipped: list[str],
) -> list[Cell]:
    """Prepare the candidates, leaving `until` seconds; name in `skipped` what was left out."""
    reference = on(Served(subject.edge, DTYPES["fp32"]).to(device).eval(), device)
    expected = [reference(images) for images in batches]
    cells = []
    for candidate in candidates(subject, device):
        label = f"{subject.name}, batch {batch}: {candidate.name}"
        if not clock.allows(candidate.kind, until):
            skipped.append(f"{label}: no time left")
            continue
        started = time.monotonic()
        try:
            embed = candidate.make()
            check = agreement(embed, batches, expected)
        except Exception as error:  # one candidate must not end the others
            skipped.append(f"{label}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            continue
        took = time.monotonic() - started
        clock.longest[candidate.kind] = max(took, clock.longest.get(candidate.kind, 0.0))
        cells.append(Cell(candidate.name, embed, took, check))
        print(f"{label}: prepared in {took:.1f} s, {check}", flush=True)
    return cells


def measure(cells: list[Cell], batches: list[Image], seconds: float) -> None:
    """Let the cells take turns until the time is up, at least five rounds."""
    rng = np.random.default_rng(0)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or len(cells[0].rounds) < 5:
        for index in rng.permutation(len(cells)):
            cells[index].rounds.append(one_round(cells[index].embed, batches))


def one_round(embed: Embed, batches: list[Image]) -> float:
    """Return seconds a batch, over about 15 ms and at least two batches."""
    embed(batches[0])
    started = time.perf_counter()
    count = 0
    while count < 2 or time.perf_counter() - started < 0.015:
        embed(batches[count % len(batches)])
        count += 1
    return (time.perf_counter() - started) / count


def different_batches(size: int, batch: int) -> list[Image]:
    """Return two batches that share no image, uint8 (batch, size, size, 3) each."""
    distinct = min(batch, 8)
    scenes = np.stack(generated_scenes(2 * distinct, size, seed=1))
    repeat = -(-batch // distinct)
    return [
        np.ascontiguousarray(np.concatenate([half] * repeat)[:batch])
        for half in (scenes[:distinct], scenes[distinct:])
    ]


def run(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """Measure every backbone and batch size."""
    clock = Clock(args.seconds)
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    pairs = [(name, batch) for name in args.backbones for batch in args.batches]
    measuring = _SHARE * args.seconds / len(pairs)
    with tempfile.TemporaryDirectory() as folder:
        subjects = {}
        for name in args.backbones:
            subjects[name], missing = make_subject(name, Path(folder))
            skipped += missing
        # Each pair may prepare for its share of what is left, and the later ones are kept theirs.
        for number, (name, batch) in enumerate(pairs):
            rest = len(pairs) - number
            keep = clock.left * (rest - 1) / rest + measuring
            batches = different_batches(subjects[name].size, batch)
            cells = prepare_cells(subjects[name], batch, batches, clock, keep, device, skipped)
            if cells:
                measure(cells, batches, measuring)
            rows += [cell.row(name, batch) for cell in cells]
            torch._dynamo.reset()
    return {"took_s": round(args.seconds - clock.left, 1), "rows": rows, "skipped": skipped}


def circumstances(device: str) -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU: a trial of the program"
    return {
        "device": name,
        "cuda": torch.version.cuda,
        "cpu_cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=330.0, help="for the whole program")
    parser.add_argument("--cpu", action="store_true", help="try the program without a GPU")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    if not args.cpu and not torch.cuda.is_available():
        raise SystemExit("this benchmark needs an NVIDIA GPU that PyTorch can use (or --cpu)")
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32 in every candidate
    torch._dynamo.config.recompile_limit = 64  # one forward, compiled in many ways
    device = "cpu" if args.cpu else "cuda"
    document = {**circumstances(device), **run(args, device)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu_sessions.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    if not document["rows"]:
        raise SystemExit("nothing was measured; give more --seconds")
    if not all(row["right"] for row in document["rows"]):
        raise SystemExit("a candidate gave wrong embeddings; see the rows that are not right")


if __name__ == "__main__":
    main()
