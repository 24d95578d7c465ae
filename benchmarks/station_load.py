"""Fifty clients at a station: what do they cost its verdicts?

    python benchmarks/station_load.py --out .out/bench

A real `vision-edge serve` on two looped videos at 30 frames a second, of which `--max-rate` a
second and source are judged. Quiet and busy stretches take turns in one run, so that a noisy
machine disturbs both; the ratio of the verdicts' ages is what counts. The clients run in a process
of their own on the same machine: they take their share of its cores, which a real station's do not.
Busy: 20 clients ask for the status and 14 for the verdicts once a second, 10 hold the event stream,
6 watch a preview at 5 frames a second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances
from station_process import EMBEDDED, Plan, StationProcess
from station_soak import load_name

TARGET = 1.2
MIX = {"status": 20, "verdicts": 14, "stream": 10, "preview": 6}
PATHS = {
    "status": "/api/v1/status",
    "verdicts": "/api/v1/verdicts?limit=50",
    "stream": "/api/v1/verdicts/stream",
    "preview": "/api/v1/sources/camera-0/preview.mjpeg?fps=5&width=480",
}
REST_S = 1.0


def clients(url: str, mix: dict[str, int], busy: Event, ending: Event, counts: Any) -> None:
    """Be all clients; runs in a process of its own until `ending`."""
    done: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_client, args=(url + PATHS[kind], kind, busy, ending, done))
        for kind, number in mix.items()
        for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.put(dict(done))


def _client(url: str, kind: str, busy: Event, ending: Event, done: Counter[str]) -> None:
    while not ending.is_set():
        if not busy.wait(0.2):
            continue
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                if kind in ("stream", "preview"):
                    _watch(response, busy, ending)
                else:
                    response.read()
            done[kind] += 1
        except OSError:
            done[f"{kind} failed"] += 1
        if kind not in ("stream", "preview"):
            ending.wait(1.0)


def _watch(response: Any, busy: Event, ending: Event) -> None:
    with suppress(OSError):
        while busy.is_set() and not ending.is_set() and response.read1(65536):
            pass


def alternate(
    station: StationProcess, busy: Event, turns: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Return the verdicts' ages in quiet and busy stretches, in turns."""
    found: dict[str, list[list[float]]] = {"quiet": [], "busy": []}
    for turn in range(2 * turns):
        name = "busy" if turn % 2 else "quiet"
        if name == "busy":
            busy.set()
        time.sleep(REST_S)
        began = time.monotonic()
        time.sleep(seconds)
        found[name].append(station.ages(began, time.monotonic()))
        busy.clear()
        time.sleep(REST_S)
    return found


def summary(ages: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Return percentiles of both, and how many times the quiet ones the busy ones are."""
    pooled = {
        name: np.concatenate([np.array(part) for part in parts]) for name, parts in ages.items()
    }
    figures: dict[str, Any] = {
        name: {
            "verdicts": len(values),
            **{f"p{q}_ms": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)},
        }
        for name, values in pooled.items()
    }
    for q in (50, 95):
        pairs = zip(ages["quiet"], ages["busy"], strict=True)
        ratios = [np.percentile(b, q) / np.percentile(a, q) for a, b in pairs if a and b]
        figures[f"p{q}_ratio"] = round(float(np.median(ratios)), 3)
        figures[f"p{q}_ratios"] = [round(float(ratio), 3) for ratio in ratios]
    return figures


def load(folder: Path, plan: Plan, turns: int, seconds: float, mix: dict[str, int]) -> Any:
    """Run station and clients; return the report."""
    context = multiprocessing.get_context("spawn")
    busy, ending, counts = context.Event(), context.Event(), context.Queue()
    with StationProcess(folder, plan) as station:
        process = context.Process(target=clients, args=(station.url, mix, busy, ending, counts))
        process.start()
        time.sleep(2.0)
        try:
            figures = summary(alternate(station, busy, turns, seconds))
        finally:
            ending.set()
        answered = counts.get(timeout=30)
        process.join(30)
    return {
        **circumstances(),
        "clients": mix,
        "fps": plan.fps,
        "max_rate": plan.max_rate,
        "bundle": load_name(plan.bundle),
        "answered": answered,
        **figures,
        "within_target": figures["p50_ratio"] < TARGET,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each stretch")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--max-rate", type=float, default=5.0, help="judged a second and source")
    parser.add_argument("--frames", type=int, default=300, help="length of the looped videos")
    parser.add_argument("--bundle", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.fps, options.max_rate, options.frames, options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        report = load(Path(folder), plan, options.turns, options.seconds, MIX)
    (options.out / "station_load.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    raise SystemExit(0 if report["within_target"] else 1)


if __name__ == "__main__":
    main()
