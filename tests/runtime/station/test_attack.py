"""A small part of `make attack`: a real station, attacked; and hostile files and messages."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.paths import ROOT
from support.runtime import make_bundle

pytest.importorskip("uvicorn")
pytest.importorskip("psutil")
pytest.importorskip("onnx")

NAMES = (
    "attack", "attack_kinds", "attack_bundles", "attack_fuzz", "canaries", "measured",
    "station_process",
)  # fmt: skip
TOKENS = {"operator": "operator-" + "o" * 20, "engineer": "engineer-" + "e" * 20}


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The attack's modules, which are no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        for name in NAMES:
            sys.modules.pop(name, None)


def test_a_station_stands_a_small_attack(attack: dict[str, ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "station"
    folder.mkdir()
    kinds = attack["attack_kinds"]
    plan, more, ports = attack["attack"].prepared(folder, TOKENS, make_bundle(tmp_path / "tiny"))
    bundles = attack["attack_bundles"].write_hostile_bundles(folder / "incoming")
    with (
        attack["canaries"].Canaries(folder, tmp_path) as canaries,
        attack["station_process"].StationProcess(folder, plan, more) as station,
    ):
        target = attack["attack"].target_of(station.url, folder, TOKENS, ports)
        seen = len(station.verdicts)
        posted = kinds.bodies_of_nobody(target, 10, 5.0)
        assert set(posted["answers"]) <= {"413", "ended"}
        guessed = kinds.guesses(target, 20)
        assert guessed["tried"] <= 5
        assert guessed["login"] == 200
        told = kinds.noise(target, 20, 20)
        assert told["deeds_kept"] == 1
        assert {"loops", "external data", "fifo", "zero"} < set(bundles)
        for name in ("loops", "external data", "fifo", "zero"):
            ended = kinds.hostile_bundle(target, name)
            assert ended["state"] == "failed", ended
            assert str(folder) not in ended["said"]
        status, text = target.request("GET", "/status", token=TOKENS["operator"])
        assert (status, json.loads(text)["ready"]) == (200, True)
        assert len(station.verdicts) > seen
        assert station.resources()["rss_mb"] < 1500
    assert canaries.opened == []


def test_a_canary_notices_who_reads_it(attack: dict[str, ModuleType], tmp_path: Path) -> None:
    with attack["canaries"].Canaries(tmp_path) as canaries:
        (tmp_path / "secret").read_bytes()
        canaries.settle()
    assert canaries.opened == [str(tmp_path / "secret")]


def test_hostile_files_and_messages_are_refused(attack: dict[str, ModuleType]) -> None:
    found = attack["attack_fuzz"].fuzz(60, 7)
    for name in ("archives", "bundles", "line_messages", "models"):
        assert found[name]["over"] == [], name
        assert not [end for end in found[name] if "unforeseen" in end]
    assert found["archives"]["refused"] >= 15  # what is left has another name, or a date
    assert found["line_messages"]["refused"] == 21
