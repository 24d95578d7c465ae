"""Counts over HTTP and on the wires: what a station counts is what it told, over a restart."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from support.station import Served, eventually, served, settings_for

from vision_edge.station.core.audit import DEEDS
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.station import StationSettings


@pytest.fixture
def settings(bundle_path: Path, registered: Path, shots: Path) -> StationSettings:
    line = {"name": "line", "address": shots, "loop": True, "fps": 30, "trigger": "interval",
            "interval": 0.2}  # fmt: skip
    frames = {"name": "frames", "address": shots, "loop": True, "fps": 10}
    return settings_for(bundle_path, registered, line, frames)


def parts(answer: dict[str, Any], key: str = "sources") -> int:
    return sum(source["parts"] for source in answer[key])


def told(running: Served) -> int:
    return len([one for one in running.station.records(1000, "line") if "part" in one])


def test_what_is_told_is_counted_and_stays_over_a_restart(settings: StationSettings) -> None:
    with served(settings) as running:
        eventually(lambda: told(running) >= 4)
        running.station.line("line").stop()
        assert running.station.line("line").join(5)
        first, counted = told(running), running.ok(running.get("/counts"))
        assert parts(counted) == parts(counted, "total") == first
        assert [source["source"] for source in counted["sources"]] == ["line"]
        metrics = running.client.get("/metrics").text
        lines = [line for line in metrics.splitlines() if line.startswith("vision_edge_parts_tot")]
        assert sum(float(line.split()[-1]) for line in lines) == first
    with served(settings) as again:
        eventually(lambda: told(again) >= 2)
        again.station.line("line").stop()
        assert again.station.line("line").join(5)
        assert parts(again.ok(again.get("/counts")), "total") == first + told(again)


def test_a_reset_is_noted_and_the_table_keeps_what_was(settings: StationSettings) -> None:
    with served(settings) as running:
        eventually(lambda: told(running) >= 2)
        running.station.line("line").stop()
        assert running.station.line("line").join(5)
        before = parts(running.ok(running.get("/counts")))
        answer = running.ok(running.post("/counts/reset", json={}))
        assert parts(answer) == 0
        assert answer["reset_by"]
        assert parts(answer, "total") == before
        table = running.get("/counts.csv")
        assert table.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(table.text)))
        assert sum(int(row["parts"]) for row in rows) == before
        assert {row["kind"] for row in rows} <= {"product", "unsure", "unknown", "missed"}
        deeds = (settings.state_dir / DEEDS).read_text().splitlines()
        assert any("counts/reset" in json.loads(line)["what"] for line in deeds)


class Listener:
    """A wire that hears counts."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[Record] = []

    def start(self, commands: Any) -> None:
        self.commands = commands

    def verdict(self, record: Record) -> None:
        pass

    def counts(self, document: Record) -> None:
        self.heard.append(document)

    def health(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_a_wire_hears_counts_and_its_reset_is_noted(settings: StationSettings) -> None:
    with served(settings) as running:
        wire = Listener()
        running.station.add_wire(wire)
        assert wire.heard
        eventually(lambda: wire.heard[-1]["total"])
        wire.commands.reset_counts("modbus")
        assert wire.heard[-1]["reset_by"] == "modbus"
        deeds = (settings.state_dir / DEEDS).read_text().splitlines()
        assert {"who": "modbus", "what": "reset counts"}.items() <= json.loads(deeds[-1]).items()
