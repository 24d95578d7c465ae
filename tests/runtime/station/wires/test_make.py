"""Making wires from settings, and what docs/reference/wires.md says of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.wires import free_port, record, until

from vision_edge.runtime.errors import MissingExtraError, VisionEdgeError
from vision_edge.station.core.wire import Commands, StateWire
from vision_edge.station.wires import (
    ModbusSettings,
    MqttSettings,
    OpcuaSettings,
    SparkplugSettings,
    WebhookSettings,
    WireSettings,
    make_wires,
)
from vision_edge.station.wires.modbus_map import BANDS, STATES, RegisterMap, SourceState

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

DOCS = (ROOT / "docs/reference/wires.md").read_text(encoding="utf-8")
SECTIONS = {
    "mqtt": MqttSettings, "sparkplug": SparkplugSettings, "webhook": WebhookSettings,
    "modbus": ModbusSettings, "opcua": OpcuaSettings,
}  # fmt: skip


def test_no_section_makes_no_wire(tmp_path: Path) -> None:
    assert make_wires(WireSettings(), "line-1", tmp_path, ["cam"]) == []
    assert list(tmp_path.iterdir()) == []


def test_every_section_makes_its_wire(tmp_path: Path) -> None:
    pytest.importorskip("pymodbus")
    pytest.importorskip("asyncua")
    pytest.importorskip("google.protobuf")
    settings = WireSettings(
        mqtt=MqttSettings(port=free_port()),
        sparkplug=SparkplugSettings(port=free_port()),
        webhook=WebhookSettings(url=f"http://127.0.0.1:{free_port()}/"),
        modbus=ModbusSettings(port=free_port()),
        opcua=OpcuaSettings(port=free_port()),
    )
    wires = make_wires(settings, "line-1", tmp_path, ["cam"])
    assert [wire.name for wire in wires] == ["mqtt", "sparkplug", "webhook", "modbus", "opcua"]
    assert [isinstance(wire, StateWire) for wire in wires] == [True, True, False, True, True]
    for wire in wires:
        wire.verdict(record(1))
        assert wire.health().state == "connecting"
        wire.close()


@pytest.mark.parametrize("name", ["modbus", "opcua", "sparkplug"])
def test_a_missing_extra_is_named_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("pymodbus", "asyncua", "google.protobuf"):
        monkeypatch.setitem(sys.modules, module, None)
    settings = WireSettings(mqtt=MqttSettings(), **{name: SECTIONS[name]()})  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match=rf"vision-edge\[{name}\]"):
        make_wires(settings, "line-1", tmp_path, ["cam"])
    (wire,) = make_wires(WireSettings(mqtt=MqttSettings()), "line-1", tmp_path, [])
    wire.close()


def test_two_stations_with_one_state_dir_are_refused(tmp_path: Path) -> None:
    settings = WireSettings(mqtt=MqttSettings())
    (wire,) = make_wires(settings, "line-1", tmp_path, [])
    with pytest.raises(VisionEdgeError, match="another process uses this outbox"):
        make_wires(settings, "line-2", tmp_path, [])
    wire.close()


def test_a_verdict_that_is_no_json_is_counted_and_harms_no_other(tmp_path: Path) -> None:
    (wire,) = make_wires(WireSettings(mqtt=MqttSettings(port=free_port())), "line-1", tmp_path, [])
    wire.start(Commands(lambda source: None))
    wire.verdict(record(1, score=float("nan")))
    wire.verdict(record(2))
    until(lambda: "refused" in wire.health().detail)
    assert (wire.health().queued, wire.health().dropped) == (1, 1)
    wire.close()


def test_the_example_of_the_docs_is_valid_and_every_setting_is_in_it() -> None:
    (text,) = re.findall(r"```toml\n(.+?)```", DOCS, flags=re.DOTALL)
    example: dict[str, dict[str, Any]] = tomllib.loads(text)
    WireSettings(**example)  # type: ignore[arg-type]
    assert set(example) == set(SECTIONS)
    for section, model in SECTIONS.items():
        assert set(example[section]) == set(model.model_fields), section


def test_the_register_map_of_the_docs_is_the_one_that_is_served() -> None:
    table = RegisterMap(["cam"], {"valve": 7}, lambda: 0.0)
    block = table.registers({"cam": SourceState(5, record(1, band="review"), 0.0, "stale")})[16:]
    fields = {
        name: int(offset) for offset, name in re.findall(r"^\| \+(\d+)[^|]*\| (\w+)", DOCS, re.M)
    }
    assert block[fields["sequence"] + 1] == 5
    assert block[fields["product"]] == 7
    assert block[fields["band"]] == BANDS["review"]
    assert block[fields["score"]] == 912
    assert block[fields["state"]] == STATES["stale"]
    assert block[fields["again"] + 1] == 5
    for word, code in {**BANDS, **STATES}.items():
        assert f"{code} {word}" in DOCS
