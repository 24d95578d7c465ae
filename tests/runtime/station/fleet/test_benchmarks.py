"""The long benchmarks of a station work: each runs here for seconds, on a tiny bundle."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType

import pytest
from support.paths import ROOT
from support.runtime import make_bundle

pytest.importorskip("uvicorn")
pytest.importorskip("psutil")

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The benchmarks' modules, which are no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("station_process", "station_soak", "station_load")
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        for name in (*names, "measured"):
            sys.modules.pop(name, None)


def test_a_short_soak_and_a_short_load(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    process, soak, load = benchmarks.values()
    plan = process.Plan(fps=20.0, max_rate=10.0, frames=20, bundle=make_bundle(tmp_path / "bundle"))
    mix = {"status": 2, "verdicts": 1, "stream": 1, "preview": 1}
    busy, ending, counts = threading.Event(), threading.Event(), SimpleQueue[dict[str, int]]()
    with process.StationProcess(tmp_path, plan) as station:
        samples = soak.watch(station, 2.0, 0.5)
        arguments = (station.url, mix, busy, ending, counts)
        crowd = threading.Thread(target=load.clients, args=arguments)
        crowd.start()
        ages = load.alternate(station, busy, 1, 1.0)
        ending.set()
        crowd.join(20)
        frames = station.metric("vision_edge_frames_total")
        verdicts = station.metric("vision_edge_verdicts_total")
        spared = station.metric("vision_edge_spared_frames_total")
        counted = soak.counts(station)
    assert len(samples) == 4
    assert frames > verdicts > 10
    assert spared > 10
    assert soak.accounted(counted, counted["frames"])["complete"]
    assert not soak.accounted({**counted, "spared_frames": 0.0}, counted["frames"])["complete"]
    figures = soak.flatness(samples)
    assert figures["threads"]["flat"]
    assert figures["files"]["flat"]
    assert station.stopped_in < 10
    found = load.summary(ages)
    assert min(found["quiet"]["verdicts"], found["busy"]["verdicts"]) > 2
    assert found["p50_ratio"] > 0
    answered = counts.get()
    assert answered["status"] >= 2
    assert not [name for name in answered if "failed" in name]


def test_growth_is_seen(benchmarks: dict[str, ModuleType]) -> None:
    soak = benchmarks["station_soak"]

    def samples(leak: float) -> list[dict[str, float]]:
        return [
            {"s": 5.0 * k, "rss_mb": 200 + leak * k, "threads": 9, "files": 20, "p95_ms": 30.0}
            for k in range(200)
        ]

    flat, leaking = soak.flatness(samples(0.0)), soak.flatness(samples(0.1))
    assert all(figure["flat"] for figure in flat.values())
    assert not leaking["rss_mb"]["flat"]
    assert leaking["rss_mb"]["slope_per_hour"] == pytest.approx(72.0)
