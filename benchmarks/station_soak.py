"""A station for a long time: are memory, threads, open files and latency flat?

    python benchmarks/station_soak.py --minutes 30 --out .out/bench

A real `vision-edge serve` reads two rendered videos in a loop, each at 30 frames a second; of them
`--max-rate` a second and source are judged, so that two cores have headroom: the embedded bundle
takes about 10 ms an image on one quiet core, and 60 a second would leave none (`--max-rate 30` asks
for them all). Memory and the like are read from the operating system, the verdicts' ages from the
event stream. The first tenth is warm-up. The quarter after it is held against the last one. Every
frame must have a verdict, or be counted: as spared by `--max-rate`, as too old, or as dropped from
an event stream.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances
from station_process import EMBEDDED, Plan, StationProcess

from vision_edge.runtime.reports.charts import Line, line_chart
from vision_edge.runtime.reports.pages import write_page

WARM_UP = 0.1
SOURCES = 2
IN_FLIGHT = 8
"""Frames a source that are seen and not yet judged when the counts are read."""
LEAST_RATE = 0.97
"""Share of the frames that sources at their own rate would show, which must be seen."""
LIMITS = {"rss_mb": (1.02, 3.0), "threads": (1.0, 1.0), "files": (1.0, 1.0), "p95_ms": (1.25, 5.0)}
"""How much the last quarter may exceed the first: times the first, plus so much."""

Sample = dict[str, float]


def watch(station: StationProcess, seconds: float, every: float) -> list[Sample]:
    """Return samples: time since the start, resources, and the ages of the last interval."""
    began = time.monotonic()
    samples: list[Sample] = []
    while (now := time.monotonic()) < began + seconds:
        time.sleep(max(0.0, every - (time.monotonic() - now)))
        ages = station.ages(now, time.monotonic())
        sample = {"s": round(time.monotonic() - began, 2), **station.resources()}
        sample["verdicts"] = len(ages)
        for name, share in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
            sample[name] = float(np.percentile(ages, share)) if ages else float("nan")
        samples.append({name: round(value, 2) for name, value in sample.items()})
        station.verdicts[:] = [v for v in station.verdicts if v.at >= now]
    return samples


def flatness(samples: list[Sample]) -> dict[str, dict[str, Any]]:
    """Return, for each figure, its first and last quarter, its slope an hour, and a judgement."""
    kept = samples[int(len(samples) * WARM_UP) :]
    quarter = max(1, len(kept) // 4)
    hours = np.array([sample["s"] for sample in kept]) / 3600
    found = {}
    for name, (times, plus) in LIMITS.items():
        values = np.array([sample[name] for sample in kept])
        sound = np.isfinite(values)
        first = float(np.nanmedian(values[:quarter]))
        last = float(np.nanmedian(values[-quarter:]))
        several = int(sound.sum()) > 1
        slope = float(np.polyfit(hours[sound], values[sound], 1)[0]) if several else 0.0
        found[name] = {
            "first_quarter": round(first, 2),
            "last_quarter": round(last, 2),
            "slope_per_hour": round(slope, 2),
            "flat": bool(last <= first * times + plus),
        }
    return found


def plot(samples: list[Sample], path: Path) -> None:
    """Draw the figures over time, as a page."""
    rows = (("rss_mb",), ("threads", "files"), ("p50_ms", "p95_ms"), ("verdicts",))
    charts = [
        line_chart(
            ", ".join(names),
            "",
            [Line(name, [(s["s"] / 60, s[name]) for s in samples]) for name in names],
            across="minutes",
            floor=0.0,
        )
        for names in rows
    ]
    template = Path(__file__).with_name("charts.html")
    title, made = "A station over time", "benchmarks/station_soak.py"
    write_page(path, template, title=title, made=made, charts=charts)


def soak(folder: Path, plan: Plan, seconds: float, every: float) -> dict[str, Any]:
    """Run a station for so long, and return what was seen."""
    with StationProcess(folder, plan) as station:
        first, began = counts(station), time.monotonic()
        samples = watch(station, seconds, every)
        took, last = time.monotonic() - began, counts(station)
    counted = {name: last[name] - first[name] for name in last}
    judged = flatness(samples)
    account = accounted(counted, SOURCES * plan.fps * took)
    return {
        **circumstances(),
        "seconds": seconds,
        "fps": plan.fps,
        "max_rate": plan.max_rate,
        "bundle": load_name(plan.bundle),
        "counted": counted,
        "stopped_in_s": round(station.stopped_in, 2),
        "cpu_cores": round(_cpu_rate(samples), 3),
        "flat": all(figure["flat"] for figure in judged.values()),
        "account": account,
        "held": account["complete"] and all(figure["flat"] for figure in judged.values()),
        "figures": judged,
        "samples": samples,
    }


def counts(station: StationProcess) -> dict[str, float]:
    """Return what the station counts of its frames."""
    names = ("frames", "verdicts", "spared_frames", "stale_frames", "events_dropped")
    return {name: station.metric(f"vision_edge_{name}_total") for name in names}


def accounted(counted: dict[str, float], shown: float) -> dict[str, Any]:
    """Return whether every frame has a verdict or is counted, of `shown` that there were."""
    ends = counted["verdicts"] + counted["spared_frames"] + counted["stale_frames"]
    missing, rate = counted["frames"] - ends, counted["frames"] / shown
    return {
        "missing": missing,
        "seen_of_shown": round(rate, 4),
        "complete": abs(missing) <= SOURCES * IN_FLIGHT and rate >= LEAST_RATE,
    }


def load_name(bundle: Path) -> str:
    """Return a bundle's name."""
    return str(json.loads((bundle / "manifest.json").read_text())["name"])


def _cpu_rate(samples: list[Sample]) -> float:
    if len(samples) < 2:
        return float("nan")
    first, last = samples[0], samples[-1]
    return (last["cpu_s"] - first["cpu_s"]) / (last["s"] - first["s"])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sample", type=float, default=5.0, help="seconds")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--max-rate", type=float, default=5.0, help="judged a second and source")
    parser.add_argument("--frames", type=int, default=300, help="length of the looped videos")
    parser.add_argument("--bundle", type=Path, default=EMBEDDED)
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.fps, options.max_rate, options.frames, options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), plan, options.minutes * 60, options.sample)
    (options.out / "station_soak.json").write_text(json.dumps(report, indent=1) + "\n")
    if not options.no_plot:
        plot(report["samples"], options.out / "station_soak.html")
    for name, figure in report["figures"].items():
        print(f"{name:8} {figure}")
    print(f"{report['counted']}, {report['account']}, {report['cpu_cores']} cores")
    print(f"flat: {report['flat']}; held: {report['held']}")
    raise SystemExit(0 if report["held"] else 1)


if __name__ == "__main__":
    main()
