"""Modbus TCP: the latest verdicts as registers, and coils that trigger."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.station.core.product_codes import Codes
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.connections import host_and_port, is_loopback
from vision_edge.station.settings.wires import ModbusSettings
from vision_edge.station.wires.library_log import bound_library_log
from vision_edge.station.wires.modbus_map import RegisterMap, SourceState
from vision_edge.station.wires.modbus_server import limited_server, sweep
from vision_edge.station.wires.payload import source_of
from vision_edge.station.wires.server_wire import ServerWire

_READ_REGISTERS, _WRITE_COILS, _WRITE_REGISTERS = (3, 4), (5, 15), (6, 16)


class ModbusWire(ServerWire):
    """A Modbus TCP server.

    Input registers and holding registers are the same and read only, but for one a source: where
    the settings allow it, a product's code that is written there is expected from now on. Coil
    0 triggers all sources that are judged on command, coil 1 the first source, and so on, when it
    goes from 0 to 1; the coil after the last source resets the parts' counts.

    Args:
        settings: The section `[modbus]`.
        sources: Names of the sources, in the order of their registers.
        codes: The codes of all products; by default the settings' alone.

    Raises:
        MissingExtraError: If pymodbus is not installed.
    """

    def __init__(
        self,
        settings: ModbusSettings,
        sources: list[str],
        codes: Codes | None = None,
    ) -> None:
        require("pymodbus")
        bound_library_log("pymodbus")
        super().__init__("modbus", host_and_port(settings.host, settings.port))
        self._settings, self._sources = settings, sources
        self._map = RegisterMap(sources, settings.products, codes=codes)
        self._lock = threading.Lock()
        self._states: dict[str, SourceState] = {}
        self._counts: Record | None = None
        self._coils = [False] * (len(sources) + 2)
        self._tasks: set[asyncio.Task[Any]] = set()

    def verdict(self, record: Record) -> None:
        """Show a verdict from now on."""
        with self._lock:
            source = source_of(record)
            state = self._states.get(source, SourceState())
            self._states[source] = replace(
                state, verdicts=state.verdicts + 1, record=record, at=time.monotonic()
            )

    def state(self, source: str, status: Record) -> None:
        """Show a source's state from now on."""
        with self._lock:
            state = self._states.get(source, SourceState())
            self._states[source] = replace(
                state,
                state=str(status.get("state", "")),
                expected=(status.get("expected") or {}).get("product"),
                answer=str(status.get("answer") or ""),
                answers=int(status.get("answers", 0)),
            )

    def counts(self, document: Record) -> None:
        """Show the parts' counts from now on."""
        self._counts = document

    async def _serve(self, stop: asyncio.Event) -> None:
        server = limited_server(self._device(), (self._settings.host, self._settings.port))
        sweeping = asyncio.create_task(sweep(server))
        try:
            await server.serve_forever(background=True)
            self._say("ok", f"listens at {self._where}{self._warning()}")
            await stop.wait()
        finally:
            sweeping.cancel()
            await server.shutdown()

    def _warning(self) -> str:
        """Return what a person should know about who may connect, or nothing."""
        if is_loopback(self._settings.host):
            return ""
        return (
            "; Modbus has no login: whoever reaches it reads"
            + (" and triggers" if self._settings.triggers else "")
            + (" and sets what is expected" if self._settings.expect else "")
            + (" and resets the counts" if self._settings.resets else "")
        )

    def _device(self) -> Any:
        """Return what pymodbus serves: its registers are filled when they are asked for."""
        simulator = require("pymodbus.simulator")
        bits = simulator.DataType.BITS

        def registers() -> list[Any]:
            kind = simulator.DataType.REGISTERS
            values = [0] * self._map.size
            return [simulator.SimData(0, values=values, datatype=kind, readonly=True)]

        def holding() -> list[Any]:
            kind, writable = simulator.DataType.REGISTERS, self._settings.expect
            return [
                simulator.SimData(
                    address,
                    values=[0],
                    datatype=kind,
                    readonly=not (writable and self._map.source_at(address)),
                )
                for address in range(self._map.size)
            ]

        def coils(count: int) -> list[Any]:
            return [simulator.SimData(0, values=[False] * count, datatype=bits)]

        return simulator.SimDevice(
            self._settings.unit,
            simdata=(coils(len(self._coils)), coils(1), holding(), registers()),
            action=self._asked,
        )

    async def _asked(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> Any:
        """Fill registers before they are read; see to coils that are written."""
        if function in _READ_REGISTERS and values is None:
            with self._lock:
                states = dict(self._states)
            registers[: self._map.size] = self._map.registers(states, self._counts)
        elif function in _WRITE_COILS and values is not None:
            return self._written(address, [bool(value) for value in values])
        elif function in _WRITE_REGISTERS and values is not None:
            return await self._expected(address, [int(value) for value in values])
        return None

    async def _expected(self, address: int, codes: list[int]) -> Any:
        """Have sources show products; refuse a code that no product has."""
        refused = require("pymodbus.constants").ExcCodes.ILLEGAL_VALUE
        for number, code in enumerate(codes, address):
            source = self._map.source_at(number)
            try:
                product = self._map.product_of(code)
            except KeyError:
                return refused
            if source is None or await self._expect(source, product) is not None:
                return refused
        return None

    def _written(self, address: int, values: list[bool]) -> Any:
        """Trigger or reset where a coil rises; refuse what is no coil of ours."""
        codes = require("pymodbus.constants").ExcCodes
        reset = len(self._coils) - 1
        touched = range(address, address + len(values))
        if touched.stop > len(self._coils):
            return codes.ILLEGAL_ADDRESS
        triggers = not self._settings.triggers and touched.start < reset
        if triggers or (not self._settings.resets and reset in touched):
            return codes.ILLEGAL_FUNCTION
        for number, value in enumerate(values, address):
            rises, self._coils[number] = value and not self._coils[number], value
            if rises:
                task = asyncio.get_running_loop().create_task(self._risen(number))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return None

    async def _risen(self, coil: int) -> None:
        """Do what a coil stands for."""
        if coil == len(self._coils) - 1:
            await self._reset_counts()
        else:
            await self._trigger(None if coil == 0 else self._sources[coil - 1])
