"""Modbus TCP, with pymodbus's own client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from support.wires import free_port, record, until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.wires import ModbusSettings
from vision_edge.station.wires.modbus_map import RegisterMap, SourceState


def test_registers_tell_a_verdict() -> None:
    now = [100.0]
    table = RegisterMap(["a", "b"], {"valve": 7}, lambda: now[0])
    now[0] = 165.5
    states = {
        "b": SourceState(
            0x12345, record(1, "b", margin=None, score=-0.5, age_ms=1e9), 165.0, "live"
        )
    }
    registers = table.registers(states)
    assert len(registers) == table.size == 48 + 2 * 16  # the counts come last
    assert registers[:4] == [65, 1, 2, 16]
    assert registers[16:32] == [0] * 16
    minus_half, no_margin = 65536 - 500, 65536 - 32768
    assert registers[32:48] == [
        1, 0x2345, 1, 7, 0, minus_half, no_margin, 65535, 0, 500, 2, 0, 0, 0, 1, 0x2345,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "product", "band"),
    [
        ({"label": "valve", "band": "accept"}, 7, 1),
        ({"label": "other", "band": "accept"}, 65534, 1),
        ({"label": None, "known": False, "band": "review"}, 65535, 2),
        ({"label": None, "known": False, "band": "unknown"}, 65535, 3),
    ],
)
def test_product_codes_and_bands(more: dict[str, Any], product: int, band: int) -> None:
    table = RegisterMap(["a"], {"valve": 7}, lambda: 0.0)
    block = table.registers({"a": SourceState(1, record(1, "a", **more))})[16:]
    assert (block[2], block[3], block[4]) == (int(more.get("known", True)), product, band)


def test_product_codes_must_differ() -> None:
    for products in ({"a": 1, "b": 1}, {"a": 0}, {"a": 65534}):
        with pytest.raises(ValidationError):
            ModbusSettings(products=products)


class Plant:
    """A wire, what it triggered, and a client."""

    def __init__(self, **more: Any) -> None:
        from pymodbus.client import ModbusTcpClient

        from vision_edge.station.wires.modbus import ModbusWire

        self.asked: list[str | None] = []
        self.expected: list[tuple[str, str | None, bool]] = []
        self.resets: list[str] = []
        codes = {"valve": 7, "gone": 9, "nut": 3}
        settings = ModbusSettings(port=free_port(), products=codes, **more)
        self.wire = ModbusWire(settings, ["left", "right"])
        self.wire.start(Commands(self._trigger, self._expect, self.resets.append))
        until(lambda: self.wire.health().state == "ok")
        self.client = ModbusTcpClient("127.0.0.1", port=settings.port, timeout=3)
        assert self.client.connect()

    def _trigger(self, source: str | None) -> None:
        self.asked.append(source)
        if source == "right":
            raise VisionEdgeError("right is not judged on command")

    def _expect(self, source: str, product: str | None, unregistered: bool) -> None:
        if product == "gone":
            raise VisionEdgeError("'gone' is not registered")
        self.expected.append((source, product, unregistered))

    def read(self, address: int, count: int) -> list[int]:
        answer = self.client.read_input_registers(address, count=count)
        assert not answer.isError()
        return list(answer.registers)

    def close(self) -> None:
        self.client.close()
        self.wire.close()


@pytest.fixture
def plant() -> Iterator[Plant]:
    pytest.importorskip("pymodbus")
    plant = Plant()
    yield plant
    plant.close()


def test_a_client_reads_what_is_newest(plant: Plant) -> None:
    assert plant.read(16, 16) == [0] * 16
    plant.wire.verdict(record(1, "right"))
    plant.wire.state("right", {"state": "live"})
    block = plant.read(32, 16)
    assert block[:4] == [0, 1, 1, 7]
    assert block[10] == 2
    assert block[5:8] == [912, 100, 12]
    holding = plant.client.read_holding_registers(32, count=16).registers
    assert holding[:8] == block[:8]
    assert plant.read(0, 4)[1:] == [1, 2, 16]
    assert plant.client.read_input_registers(40, count=60).isError()
    assert plant.client.write_register(32, 5).isError()
    assert plant.read(32, 2) == [0, 1]


def test_a_verdict_against_an_expected_product_is_in_the_registers() -> None:
    table = RegisterMap(["a", "b"], {"valve": 7, "bolt": 9}, lambda: 0.0)
    told = {"expected": "bolt", "answer": "wrong", "reason": "other"}
    state = SourceState(1, record(1, "b", verification=told), expected="nut")
    block = table.registers({"b": state, "a": SourceState(expected="valve")})[16:]
    assert block[11:14] == [0, 0, 7]
    assert block[27:30] == [2, 9, 65534]
    assert table.registers({})[16:48] == [0] * 32
    assert [table.source_at(n) for n in (0, 13, 28, 29, 30, 45, 61)] == [
        None, None, None, "a", None, "b", None,
    ]  # fmt: skip


def test_a_client_sets_what_is_expected() -> None:
    pytest.importorskip("pymodbus")
    with contextlib.closing(Plant(expect=True)) as plant:
        write = plant.client.write_register
        assert not write(29, 7).isError()
        assert not write(45, 0).isError()
        assert plant.expected == [("left", "valve", False), ("right", None, False)]
        assert write(29, 8).exception_code == 3  # no such product
        assert write(29, 9).exception_code == 3  # the station refuses
        assert write(28, 7).isError()
        assert plant.client.write_registers(29, [7, 7]).isError()
        assert len(plant.expected) == 2
        plant.wire.state("left", {"state": "live", "expected": {"product": "valve"}})
        assert plant.client.read_holding_registers(29, count=1).registers == [7]


def test_without_leave_nobody_sets_what_is_expected(plant: Plant) -> None:
    assert plant.client.write_register(29, 7).isError()
    assert plant.expected == []


def test_reads_are_never_torn(plant: Plant) -> None:
    """The score of the verdict with number n is n / 1000: both are from one verdict, or not."""
    stop = threading.Event()

    def verdicts() -> None:
        number = 0
        while not stop.is_set() and number < 30_000:
            number += 1
            plant.wire.verdict(record(number, "left", score=number / 1000, margin=number / 1000))

    thread = threading.Thread(target=verdicts)
    thread.start()
    for _ in range(100):
        block = plant.read(16, 16)
        sequence = block[0] << 16 | block[1]
        assert block[14:] == block[:2]
        assert block[5] == block[6] == sequence or sequence == 0
    stop.set()
    thread.join()
    assert sequence > 0


def test_a_rising_coil_triggers_once(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    client = plant.client
    for value in (True, True, False, True):
        assert not client.write_coil(1, value).isError()
    until(lambda: plant.asked == ["left", "left"])
    assert not client.write_coils(0, [True, False, True]).isError()
    until(lambda: sorted(plant.asked[2:], key=str) == [None, "right"])
    until(lambda: "right is not judged on command" in caplog.text)
    assert client.read_coils(0, count=3).bits[:3] == [True, False, True]
    assert client.write_coil(3, True).isError()
    assert client.write_coil(3000, True).isError()
    assert len(plant.asked) == 4


def test_the_heartbeat_counts_and_nonsense_does_no_harm(plant: Plant) -> None:
    before = plant.read(0, 1)[0]
    with socket.create_connection(("127.0.0.1", plant.client.comm_params.port)) as raw:
        raw.sendall(b"\x00" * 3000 + bytes(range(256)))
        time.sleep(1.1)
    assert plant.read(0, 1)[0] in (before + 1, before + 2)


def test_triggers_can_be_switched_off_and_a_taken_port_is_said() -> None:
    pytest.importorskip("pymodbus")
    from pymodbus.client import ModbusTcpClient

    from vision_edge.station.wires.modbus import ModbusWire

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        settings = ModbusSettings(host="0.0.0.0", port=holder.getsockname()[1], triggers=False)
        wire = ModbusWire(settings, ["left"])
        wire.start(Commands(lambda source: None))
        until(lambda: wire.health().state == "down")
        assert str(settings.port) in wire.health().detail
    until(lambda: wire.health().state == "ok")
    assert wire.health().detail.endswith("Modbus has no login: whoever reaches it reads")
    with ModbusTcpClient("127.0.0.1", port=settings.port) as client:
        assert client.write_coil(1, True).isError()
    wire.close()


def test_silent_clients_give_way_and_are_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymodbus")
    from vision_edge.station.wires import modbus_server

    monkeypatch.setattr(modbus_server, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(modbus_server, "SWEEP_SECONDS", 0.2)
    plant = Plant()
    port = plant.client.comm_params.port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(100)]
    try:
        plant.client.close()
        assert plant.client.connect()
        assert not plant.client.read_input_registers(0, count=4, device_id=1).isError()
        for one in silent:
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
    finally:
        for one in silent:
            one.close()
        plant.client.close()
        plant.wire.close()


def counted(parts: int, valves: int) -> dict[str, Any]:
    return {"source": "right", "parts": parts, "unsure": 4, "unknown": 1, "missed": 2,
            "products": {"valve": valves, "without code": 5}}  # fmt: skip


def test_counts_are_registers_after_the_sources(plant: Plant) -> None:
    start, size = plant.read(4, 2)
    assert (start, size) == (16 + 2 * 16, 14 + 2 * 3)
    assert plant.read(start, 2 * size) == [0] * (2 * size)
    plant.wire.counts({"sources": [counted(70_000, 66_000)], "total": [counted(140_000, 0)]})
    plant.wire.state("right", {"state": "live", "answer": "nothing", "answers": 65_537})
    block = plant.read(start + size, size)
    assert block[8:12] == [3, 0, 1, 1]
    numbers = [high << 16 | low for high, low in zip(block[::2], block[1::2], strict=True)]
    assert numbers[:4] == [70_000, 1, 2, 140_000]
    assert numbers[6:] == [0, 66_000, 0, 4]  # products in the order of their codes; unsure ones


def test_the_last_coil_resets_the_counts_where_that_is_allowed(plant: Plant) -> None:
    assert plant.client.write_coil(3, True).isError()
    assert plant.client.write_coil(4, True).isError()
    allowed = Plant(resets=True, triggers=False)
    try:
        for value in (True, True, False, True):
            assert not allowed.client.write_coil(3, value).isError()
        until(lambda: allowed.resets == ["modbus", "modbus"])
        assert allowed.client.write_coil(0, True).isError()
        assert allowed.asked == []
    finally:
        allowed.close()


def test_more_registers_than_modbus_has_are_refused() -> None:
    products = {f"p{k}": k + 1 for k in range(600)}
    with pytest.raises(VisionEdgeError, match="registers"):
        RegisterMap([f"s{k}" for k in range(64)], products)
