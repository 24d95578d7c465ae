"""What each source should show: set by anybody, kept over a restart, never silently forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.station import eventually, settings_for

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.errors import ExpectationError, NotThereError
from vision_edge.station.core.expectations import Expectations
from vision_edge.station.core.station import Station
from vision_edge.station.core.wire import Commands, Record, WireHealth


def made(folder: Path, **configured: str | None) -> tuple[Expectations, list[str]]:
    changed: list[str] = []
    kept = Expectations(folder / "expected.json", configured or {"cam": None}, changed.append)
    kept.registered(["bolt", "nut"], lambda label: " (it is called 'new' now)" * (label == "old"))
    return kept, changed


def test_what_is_set_holds_over_a_restart_until_the_settings_change(tmp_path: Path) -> None:
    first, changed = made(tmp_path, cam=None, other="nut")
    first.set("cam", "bolt", "anna")
    assert changed == ["cam"]
    again, _ = made(tmp_path, cam=None, other="nut")
    assert again.of("cam") == first.of("cam")
    assert (again.of("cam").product, again.of("cam").by) == ("bolt", "anna")
    assert (again.of("other").product, again.of("other").by) == ("nut", "the settings")
    assert made(tmp_path, cam="nut")[0].product("cam") == "nut"
    again.set("other", None, "anna")  # nothing is expected, though the settings say so
    assert made(tmp_path, cam=None, other="nut")[0].of("other").product is None


def test_what_is_not_registered_cannot_be_expected(tmp_path: Path) -> None:
    kept, changed = made(tmp_path)
    kept.set("cam", "bolt", "anna")
    with pytest.raises(ExpectationError, match=r"'old' is not registered .it is called 'new' now"):
        kept.set("cam", "old", "anna")
    assert kept.product("cam") == "bolt"
    now = kept.set("cam", "screw", "mqtt", unregistered=True)
    assert (now.product, now.problem) == ("screw", "'screw' is not registered")
    kept.registered(["screw"], str)
    assert kept.of("cam").problem == ""
    assert changed == ["cam"] * 3


def test_a_product_that_goes_is_a_problem_that_is_told(tmp_path: Path) -> None:
    kept, changed = made(tmp_path)
    kept.set("cam", "bolt", "anna")
    kept.registered(["nut"], lambda label: " (it is called 'bolt M8' now)")
    assert kept.of("cam").problem == "'bolt' is not registered (it is called 'bolt M8' now)"
    assert kept.product("cam") == "bolt"
    assert changed == ["cam", "cam"]


def test_two_that_set_different_products_at_once_are_told_of_each_other(tmp_path: Path) -> None:
    kept, _ = made(tmp_path)
    kept.set("cam", "bolt", "mqtt")
    assert kept.set("cam", "bolt", "modbus").note == ""
    now = kept.set("cam", "nut", "mqtt")
    assert now.product == "nut"
    assert now.note.startswith("modbus set 'bolt' and mqtt set 'nut' at the same time: 'nut' holds")
    assert kept.set("cam", "bolt", "mqtt").note == ""  # its own change of mind


@pytest.mark.parametrize("text", ["", "[]", '{"cam": 1}', '{"cam": {"configured": "bolt"}}', "\0"])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "expected.json").write_text(text)
    kept, _ = made(tmp_path, cam="bolt")
    assert kept.product("cam") == "bolt"
    assert "set it again" in kept.of("cam").note


def test_what_cannot_be_kept_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "expected.json").mkdir()
    kept, changed = made(tmp_path)
    with pytest.raises(ExpectationError, match="cannot be kept"):
        kept.set("cam", "bolt", "anna")
    assert (kept.product("cam"), changed) == (None, [])


class Plc:
    """A wire that sets what is expected."""

    name = "plc"

    def __init__(self) -> None:
        self.commands: Any = None
        self.records: list[Record] = []
        self.expected: list[Any] = []

    def start(self, commands: Commands) -> None:
        self.commands = commands

    def verdict(self, record: Record) -> None:
        self.records.append(record)

    def state(self, source: str, status: Record) -> None:
        self.expected.append(status["expected"]["product"])

    def health(self) -> WireHealth:
        return WireHealth(self.name, "ok", "fine")

    def close(self) -> None:
        pass


def answers(records: list[Record]) -> set[tuple[str, str]]:
    return {
        (one["label"] or one["nearest"], one["verification"]["answer"])
        for one in records
        if "verification" in one
    }


def test_a_station_verifies_what_its_settings_then_its_wires_say(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    source = {"name": "cam", "address": shots, "loop": True, "fps": 50, "expected": "bolt"}
    settings = settings_for(bundle_path, registered, source)
    with Station(settings) as station:
        plc = Plc()
        station.add_wire(plc)
        eventually(lambda: len(answers(plc.records)) >= 3)
        assert {("bolt", "right"), ("nut", "wrong"), ("washer", "wrong")} == answers(plc.records)
        collected: list[int] = []
        station.products.model.seen = lambda embeddings: collected.append(embeddings.shape[-1])
        eventually(lambda: len(collected) >= 3)  # what is verified is collected, too
        plc.commands.expect("cam", "nut", False)
        plc.records.clear()
        eventually(lambda: ("nut", "right") in answers(plc.records))
        assert plc.expected[-1] == "nut"
        with pytest.raises(ExpectationError):
            plc.commands.expect("cam", "screw", False)
        with pytest.raises(NotThereError):
            plc.commands.expect("nowhere", "nut", False)
        with station.gallery("anna") as gallery:
            gallery.rename("nut", "nut M8")
        problem = "'nut' is not registered (it is called 'nut M8' now)"
        assert station.status()["sources"][0]["expected"]["problem"] == problem
        plc.records.clear()
        eventually(lambda: len(plc.records) > 6)
        told = [one["verification"] for one in plc.records[3:]]
        assert {(one["answer"], one["reason"]) for one in told} == {("unsure", "not-registered")}
        assert b'vision_edge_verifications_total{answer="unsure"' in station.metrics.text()
    audit = [
        json.loads(line)
        for name in ("audit.jsonl", "requests.jsonl")
        for line in (settings.state_dir / name).read_text().splitlines()
    ]
    wrote = [(one["who"], one["what"], one["label"], one["result"]) for one in audit]
    assert ("plc", "expect cam", "nut", "ok") in wrote
    assert ("plc", "expect cam", "screw", "refused") in wrote
    with Station(settings) as station:  # as it was left
        assert station.expectations.of("cam").by == "plc"
        assert station.expectations.of("cam").problem == problem


def test_commands_without_a_station_take_no_expected_product() -> None:
    with pytest.raises(VisionEdgeError, match="takes no expected product"):
        Commands(lambda source: None).expect("cam", "bolt", False)
