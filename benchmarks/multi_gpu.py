"""The build on 1, 2, 4 and 8 GPUs of one host: speed, efficiency, accuracy, and a killed rank.

    python benchmarks/multi_gpu.py --weights vit_tiny.safetensors --hub HUB --test mini/val

The real command under `torchrun`. Inversion: images times iterations a second of a whole stage, so
start-up counts, of 24 ViT-B adapters of random weights by default. Meta-learning: the same global
batch on all of the GPUs. With `--hub` and `--test` the accuracy of the meta-LoRA from each number
of GPUs is evaluated on the same episodes. The last measurement kills one rank in the middle of
inversion, resumes on one rank fewer, and counts adapters whose finished images were made again.
NVLink multicast is left off. Results are written after each measurement.

`--device cpu` tries the script's own course with gloo; such figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from build_speed import BASE, TINY, WAY, random_adapter
from measured import circumstances
from safetensors.torch import save_file

from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.backbones.backbone import random_backbone

MAIN = "from vision_edge.cli.app import main; main()"
TARGETS = {2: 0.95, 4: 0.9, 8: 0.9}
"""Parallel efficiency of inversion."""
FASTER = {2: 1.6, 4: 2.5}
"""How many times as fast meta-learning should be, where its job is large enough."""


def random_hub(folder: Path, name: str, adapters: int) -> list[str]:
    """Write a backbone of random weights and a hub for it; return the build's first arguments."""
    backbone = random_backbone(name)
    folder.mkdir(parents=True)
    save_file(backbone.model.state_dict(), folder / "weights.safetensors")
    for seed in range(adapters):
        adapter = random_adapter(backbone, seed)
        target = folder / "hub" / f"task-{seed:04d}"
        target.mkdir(parents=True)
        write_adapter(target, adapter.updates, backbone, head=adapter.head)
    weights = str(folder / "weights.safetensors")
    return [str(folder / "hub"), "--backbone", name, "--weights", weights]


def line_of(ranks: int, arguments: list[str]) -> list[str]:
    """Return the command of a build on so many ranks."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    build = [sys.executable, "-c", MAIN, "build", *arguments, "--method", "recycle"]
    return [*launcher, "--nproc-per-node", str(ranks), *build]


def environment(ranks: int) -> dict[str, str]:
    """Return the variables of a build on so many ranks, among which the processors are shared."""
    threads = max(1, (os.cpu_count() or 1) // ranks)
    return {**os.environ, "NCCL_NVLS_ENABLE": "0", "OMP_NUM_THREADS": str(threads)}


def build(ranks: int, out: Path, arguments: list[str]) -> dict[str, Any]:
    """Build on so many ranks and return the report."""
    line = line_of(ranks, [*arguments, "--out", str(out)])
    done = subprocess.run(line, env=environment(ranks), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the build on {ranks} rank(s) failed:\n{done.stderr[-3000:]}")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def scaling(counts: list[int], folder: Path, arguments: list[str], work: float) -> dict[str, Any]:
    """Return speed and parallel efficiency of both stages on each number of ranks.

    Args:
        counts: Numbers of ranks, the first 1.
        folder: Where builds go.
        arguments: The build's hub, backbone and options.
        work: Images times iterations of the inversion.
    """
    found: dict[str, Any] = {}
    for ranks in counts:
        report = build(ranks, folder / f"meta-{ranks}", arguments)
        stages = report["stages"]
        seconds = {name: float(stages[name]["seconds"]) for name in ("invert", "meta-learn")}
        first = next(iter(found.values()), {"seconds": seconds})["seconds"]
        efficiency = {name: round(first[name] / took / ranks, 3) for name, took in seconds.items()}
        found[str(ranks)] = {
            "seconds": seconds,
            "image-iterations/s": round(work / seconds["invert"]),
            "efficiency": efficiency,
            "target": TARGETS.get(ranks),
            "meta-learning, times as fast": round(first["meta-learn"] / seconds["meta-learn"], 2),
            "its target": FASTER.get(ranks),
            "whole build, seconds": report["seconds"],
        }
        print(ranks, json.dumps(found[str(ranks)]), flush=True)
    return found


def accuracies(counts: list[int], folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Return what the meta-LoRA reaches on real images, built on each number of ranks."""
    found = {}
    for ranks in counts:
        tables = build(ranks, folder / f"real-{ranks}", arguments)["evaluations"]
        rows = {row["name"]: row for row in tables[-1]["results"]}
        found[str(ranks)] = {key: rows["recycled"][key] for key in ("accuracy", "ci95")}
    return found


def killed(ranks: int, folder: Path, arguments: list[str], patience: float) -> dict[str, Any]:
    """Kill one rank once two adapters are inverted, resume on one rank fewer.

    Returns:
        How the first build ended, and how many finished adapters were inverted again (0 is right).
    """
    out, pool = folder / "killed", folder / "killed.work" / "pool"
    line = line_of(ranks, [*arguments, "--out", str(out)])
    log = folder / "killed.log"  # not a pipe, which nobody would empty meanwhile
    with log.open("w") as stream:
        process = subprocess.Popen(line, env=environment(ranks), stderr=stream)
        finished = _wait_for_parts(pool, 2, process, patience)
        os.kill(psutil.Process(process.pid).children()[-1].pid, signal.SIGKILL)
        started = time.monotonic()
        process.wait()
    stopped = time.monotonic() - started
    message = log.read_text()
    before = {path: path.stat().st_mtime_ns for path in finished}
    build(max(ranks - 1, 1), out, arguments)
    again = sum(path.stat().st_mtime_ns != then for path, then in before.items())
    return {
        "ranks": ranks,
        "status": process.returncode,
        "stopped_after_s": round(stopped, 1),
        "names_the_signal": "SIGKILL" in message or "Signal 9" in message,
        "resumed_on": max(ranks - 1, 1),
        "finished_before": len(before),
        "made_again": again,
    }


def _wait_for_parts(
    pool: Path, count: int, process: subprocess.Popen[bytes], patience: float
) -> list[Path]:
    """Return the pool's finished files once there are `count`."""
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        parts = [path for path in pool.glob("*.safetensors") if not path.name.startswith(".")]
        if len(parts) >= count:
            return parts
        time.sleep(0.2)
    process.kill()
    raise SystemExit(f"no {count} adapters were inverted within {patience:.0f} s")


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=24, help="of the hubs of random weights")
    parser.add_argument("--backbones", nargs="+", default=[BASE])
    parser.add_argument("--hub", type=Path, help="a real hub, for the accuracy")
    parser.add_argument("--weights", type=Path, help="the hub's ViT-Tiny")
    parser.add_argument("--test", type=Path, help="labelled images to evaluate on")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--hub-iterations", type=int, default=50, help="with the real hub")
    parser.add_argument("--hub-per-class", type=int, default=10, help="with the real hub")
    parser.add_argument("--meta-steps", type=int, default=100)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--ranks", type=int, nargs="+", help="by default 1, 2, 4 … of the GPUs")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    if args.device == "cuda" and torch.cuda.device_count() < 2:
        raise SystemExit(f"needs two GPUs or more; this machine has {torch.cuda.device_count()}")
    counts = args.ranks or [n for n in (1, 2, 4, 8) if n <= torch.cuda.device_count()]
    options = ["--device", args.device, "--meta-steps", str(args.meta_steps)]
    amount = ["--iterations", str(args.iterations), "--per-class", str(args.per_class)]
    work = args.adapters * WAY * args.per_class * args.iterations
    document: dict[str, Any] = {**circumstances(), "adapters": args.adapters}
    args.out.mkdir(parents=True, exist_ok=True)

    def keep(name: str, found: dict[str, Any]) -> None:
        document[name] = found
        (args.out / "multi_gpu.json").write_text(json.dumps(document, indent=2) + "\n")

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in args.backbones:
            given = [*random_hub(folder / name, name, args.adapters), *options, *amount]
            keep(name, scaling(counts, folder / name, given, work))
        if args.hub is not None:
            real = [str(args.hub), "--backbone", TINY, "--weights", str(args.weights), *options]
            real += ["--iterations", str(args.hub_iterations)]
            real += ["--per-class", str(args.hub_per_class), "--test", str(args.test)]
            keep("accuracy", accuracies(counts, folder, real))
        first = [*random_hub(folder / "kill", TINY, args.adapters), *options, *amount]
        first += ["--batch", str(2 * WAY * args.per_class)]
        keep("killed", killed(counts[-1], folder / "kill", first, 300.0))
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
