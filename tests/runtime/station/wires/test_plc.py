"""A simulated controller runs the handshake of `examples/deploy/plc/handshake.st` on a station.

It is the same state machine, number by number; that both say the same is tested below.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.station import Served, eventually, served, settings_for, strangers
from support.wires import free_port

pytest.importorskip("pymodbus")
pytest.importorskip("fastapi")

from vision_edge.station.attached import wires_of

EXAMPLE = ROOT / "examples" / "deploy" / "plc" / "handshake.st"
LIVE, WITHOUT_CODE = 2, 65534


@dataclass
class Result:
    """What a handshake ended with."""

    ok: bool = False
    unknown: bool = False
    fault: bool = False
    product: int = 0


class Controller:
    """A PLC's cycle over Modbus TCP: read the block, step, write the coil when it changes."""

    def __init__(self, port: int, source: int = 0, timeout: float = 2.0) -> None:
        from pymodbus.client import ModbusTcpClient

        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=2)
        self.source, self.timeout = source, timeout
        self.state, self.coil, self.result = 0, False, Result()
        self.before, self.timer = 0, 0.0

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def handshake(self) -> Result:
        """Set Start, cycle until Done, clear Start, cycle until idle."""
        began = time.monotonic()
        while self.state != 5:
            self._cycle(start=True)
            assert time.monotonic() - began < self.timeout + 5
        done = self.result
        while self.state != 0:
            self._cycle(start=False)
        return done

    def _cycle(self, *, start: bool) -> None:
        regs = self._read()
        before, self.coil = self.coil, self._step(start, regs)
        if self.coil != before and self.client.connected:
            self.client.write_coil(self.source + 1, self.coil)
        time.sleep(0.01)

    def _read(self) -> list[int] | None:
        from pymodbus.exceptions import ModbusException

        try:
            self.client.connect()
            answer = self.client.read_input_registers(16 + 16 * self.source, count=16)
            return None if answer.isError() else list(answer.registers)
        except ModbusException:
            return None

    def _step(self, start: bool, regs: list[int] | None) -> bool:
        fresh = regs is not None
        regs = regs or [0] * 16
        now = regs[0] << 16 | regs[1]
        coil, state = self.coil, self.state
        expired = state == 2 and time.monotonic() - self.timer > self.timeout
        if state == 0:
            self.result, coil = Result(), False
            if start and fresh:
                self.before = now
                self.state, coil = (2, True) if regs[10] == LIVE else (4, False)
                self.timer = time.monotonic()
            elif start:
                self.state = 4  # nobody answers: the function block stays idle, its caller waits
        elif state == 2:
            whole = regs[0] == regs[14] and regs[1] == regs[15]
            if fresh and now != self.before and whole:
                unknown = regs[2] == 0
                ok = not unknown and regs[3] != WITHOUT_CODE
                self.result = Result(ok, unknown, not ok and not unknown, regs[3])
                coil, self.state = False, 5
            elif expired or (fresh and regs[10] != LIVE):
                self.state = 4
        elif state == 4:
            self.result, coil, self.state = Result(fault=True), False, 5
        elif not start:
            self.state = 0
        return coil


@pytest.fixture
def controller() -> Iterator[Callable[..., Controller]]:
    """Make controllers, and close them at the end."""
    made: list[Controller] = []

    def make(*arguments: Any, **options: Any) -> Controller:
        made.append(Controller(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def plant(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> Iterator[tuple[Served, int]]:
    """A station of two sources on command: one shows a bolt, the other a stranger."""
    port = free_port()
    command = {"trigger": "command", "loop": True, "fps": 30}
    sources: list[dict[str, Any]] = [
        {"name": "bolt", "address": shots / "bolt.png", **command},
        {"name": "odd", "address": strangers(tmp_path / "odd", 1), **command},
    ]
    modbus = {"port": port, "products": {"nut": 7}}
    settings = settings_for(bundle_path, registered, *sources, modbus=modbus)
    with served(settings) as running:
        for wire in wires_of(running.station):
            running.station.add_wire(wire)
        eventually(lambda: all(line.state == "live" for line in running.station.lines))
        eventually(lambda: running.station.wiring.health()[0].state == "ok")
        yield running, port


def codes(running: Served) -> dict[str, int]:
    return {one["label"]: one["code"] for one in running.ok(running.get("/products"))["products"]}


def test_a_controller_asks_and_gets_the_code_of_the_page(
    plant: tuple[Served, int], controller: Any
) -> None:
    running, port = plant
    assert codes(running) == {"bolt": 8, "nut": 7, "washer": 9}
    plc = controller(port)
    for _ in range(3):
        assert plc.handshake() == Result(ok=True, product=8)
    running.ok(running.post("/products/rename", {"label": "bolt", "new": "screw"}))
    assert codes(running)["screw"] == 8
    assert plc.handshake() == Result(ok=True, product=8)
    verdicts = running.station.records(100, "bolt")
    assert len(verdicts) == 4  # one a handshake


def test_a_stranger_is_unknown_and_a_registered_one_has_a_code(
    plant: tuple[Served, int], controller: Any
) -> None:
    running, port = plant
    plc = controller(port, source=1)
    assert plc.handshake() == Result(unknown=True, product=65535)
    eventually(lambda: running.station.review.pending)
    [item] = running.ok(running.get("/review"))["items"]
    running.ok(running.post("/review/assign", {"ids": [item["id"]], "label": "odd one"}))
    assert plc.handshake() == Result(ok=True, product=codes(running)["odd one"])


def test_no_verdict_in_time_is_a_fault_and_the_next_try_works(
    plant: tuple[Served, int], controller: Any
) -> None:
    running, port = plant
    plc = controller(port, timeout=0.5)
    trigger, running.station.line("bolt")._trigger.request = (
        running.station.line("bolt")._trigger.request,
        lambda: None,
    )
    assert plc.handshake() == Result(fault=True)
    running.station.line("bolt")._trigger.request = trigger
    assert plc.handshake() == Result(ok=True, product=8)


def test_a_station_that_is_away_is_a_fault(controller: Any) -> None:
    assert controller(free_port()).handshake() == Result(fault=True)


def test_the_example_says_the_same() -> None:
    """States, registers and numbers of the structured text are those of the controller above."""
    text = re.sub(r"\(\*.*?\*\)", "", EXAMPLE.read_text("utf-8"), flags=re.S)
    states = {int(number) for number in re.findall(r"^ +(\d):", text, re.M)}
    assert states == {0, 2, 4, 5}
    assert set(re.findall(r"state := (\d)", text)) == {"0", "2", "4", "5"}
    assert {int(n) for n in re.findall(r"regs\[(\d+)\]", text)} == {0, 1, 2, 3, 10, 14, 15}
    assert "regs[0] = regs[14] AND regs[1] = regs[15]" in text
    assert f"Product <> {WITHOUT_CODE}" in text and f"regs[10] <> {LIVE}" in text
    for opening, closing in (("IF", "END_IF"), ("CASE", "END_CASE"), ("VAR", "END_VAR")):
        opened = len(re.findall(rf"\b{opening}(?:_INPUT|_OUTPUT)?\b", text))
        assert opened == len(re.findall(rf"\b{closing}\b", text)), opening
