"""OPC UA: a node a source with its latest verdict, and a method that triggers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.core.wire import Record, WireHealth
from vision_edge.station.settings.connections import host_and_port, is_loopback
from vision_edge.station.settings.wires import OpcuaSettings
from vision_edge.station.wires import opcua_clients
from vision_edge.station.wires.library_log import bound_library_log
from vision_edge.station.wires.machine_vision.methods import Station
from vision_edge.station.wires.machine_vision.nodeset import read_nodeset
from vision_edge.station.wires.machine_vision.system import Facts
from vision_edge.station.wires.machine_vision.systems import VisionSystems
from vision_edge.station.wires.machine_vision.types import VisionTypes
from vision_edge.station.wires.opcua_access import Access
from vision_edge.station.wires.opcua_values import VARIABLES, counted, initial, shown
from vision_edge.station.wires.payload import source_of
from vision_edge.station.wires.server_wire import ServerWire

NAMESPACE = "urn:vision-edge"
_WAITING = 1000  # verdicts not shown yet
_MESSAGE_BYTES = 1 << 20
_POLICIES = {
    "none": ("NoSecurity",),
    "sign": ("Basic256Sha256_Sign", "Basic256Sha256_SignAndEncrypt"),
    "sign-and-encrypt": ("Basic256Sha256_SignAndEncrypt",),
}


class OpcuaWire(ServerWire):
    """An OPC UA server.

    Every verdict is written, `Sequence` last: a subscription to it, with a queue, sees each one.

    Args:
        settings: The section `[opcua]`.
        station: The station's name.
        sources: Names of the sources.
        commanded: Those of them that are judged on command.
        facts: What its vision systems tell of the station.

    Raises:
        MissingExtraError: If asyncua is not installed.
        VisionEdgeError: If a file that the settings name cannot be read, or is another.
    """

    def __init__(
        self,
        settings: OpcuaSettings,
        station: str,
        sources: list[str],
        commanded: Collection[str] = (),
        facts: Facts | None = None,
    ) -> None:
        require("asyncua")
        bound_library_log("asyncua")
        where = host_and_port(settings.host, settings.port)
        super().__init__("opcua", f"opc.tcp://{where}/vision-edge")
        self._settings, self._station, self._sources = settings, station, sources
        self._commanded, self._facts = commanded, facts or Facts()
        self._nodeset = None if settings.nodeset is None else read_nodeset(settings.nodeset)
        self._vision: VisionSystems | None = None
        self._access = Access(settings)
        self._lock = threading.Lock()
        self._changes: deque[tuple[str, dict[str, Any], Record | None]] = deque()
        self._sequences = dict.fromkeys(sources, 0)
        self._dropped = 0
        self._changed: asyncio.Event | None = None
        self._counted: dict[str, dict[str, Any]] = {}
        self._current = {source: initial() for source in sources}

    def verdict(self, record: Record) -> None:
        """Show a verdict; those that come faster than they can be shown are dropped and counted."""
        source = source_of(record)
        if source not in self._sequences:
            return
        with self._lock:
            self._sequences[source] = (self._sequences[source] + 1) & 0xFFFFFFFF
            self._change(source, shown(record, self._sequences[source]), record)

    def state(self, source: str, status: Record) -> None:
        """Show a source's state."""
        if source in self._sequences:
            with self._lock:
                now = (status.get("expected") or {}).get("product")
                values = {
                    "State": str(status.get("state", "")),
                    "ExpectedNow": now or "",
                    "Answer": str(status.get("answer") or ""),
                    "Answers": int(status.get("answers", 0)) & 0xFFFFFFFF,
                }
                self._change(source, values)

    def counts(self, document: Record) -> None:
        """Show how many parts there were."""
        total = {entry["source"]: entry["parts"] for entry in document["total"]}
        now = {entry["source"]: entry for entry in document["sources"]}
        with self._lock:
            for source in self._sequences:
                values = counted(now.get(source, {}), total.get(source, 0))
                if any(self._counted.get(source, {}).get(k) != v for k, v in values.items()):
                    self._counted[source] = values
                    self._change(source, values)

    def health(self) -> WireHealth:
        """Return how it is doing."""
        return WireHealth(self._name, *self._said, queued=len(self._changes), dropped=self._dropped)

    def _change(self, source: str, values: dict[str, Any], record: Record | None = None) -> None:
        """Note new values, and have them written."""
        if len(self._changes) >= _WAITING:
            self._changes.popleft()
            self._dropped += self._said[0] == "ok"
        self._changes.append((source, values, record))
        if self._loop is not None and self._changed is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._changed.set)

    async def _serve(self, stop: asyncio.Event) -> None:
        # Before the seconds that a server takes to build: raises where the port is taken.
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        socket.create_server((self._settings.host, self._settings.port), family=family).close()
        self._changed = changed = asyncio.Event()
        server = await self._server()
        nodes = await self._nodes(server)
        await server.start()
        sweeping = asyncio.create_task(opcua_clients.sweep(server))
        try:
            if self._vision is not None:  # as it was before the server began anew
                for source, current in self._current.items():
                    await self._vision.take(source, current, None)
            self._say("ok", f"listens at {self._where}{self._warning()}")
            while not stop.is_set():
                while self._changes:
                    source, values, record = self._changes.popleft()
                    self._current[source].update(values)
                    await _write(server, nodes[source], values)
                    if self._vision is not None:
                        await self._vision.take(source, self._current[source], record)
                changed.clear()
                if not self._changes:
                    await _first(stop, changed)
        finally:
            sweeping.cancel()
            await server.stop()

    async def _server(self) -> Any:
        """Return a server that is set up and not started."""
        asyncua, ua = require("asyncua"), require("asyncua.ua")
        server = asyncua.Server(user_manager=self._access)
        await server.init()
        server.set_endpoint(self._where)
        server.set_server_name(f"vision-edge {self._station}")
        await server.set_application_uri(f"{NAMESPACE}:{quote(self._station)}")
        server.limits.max_message_size = _MESSAGE_BYTES
        server.limits.max_chunk_count = _MESSAGE_BYTES // server.limits.max_recv_buffer + 1
        opcua_clients.bound(server)
        policies = [ua.SecurityPolicyType[name] for name in _POLICIES[self._settings.security]]
        server.set_security_policy(policies)
        login = self._settings.username is not None
        token = ua.UserNameIdentityToken if login else ua.AnonymousIdentityToken
        server.set_identity_tokens([token])
        await self._load_certificate(server)
        return server

    async def _load_certificate(self, server: Any) -> None:
        if self._settings.certificate is None:
            return
        try:
            await server.load_certificate(self._settings.certificate)
            await server.load_private_key(self._settings.private_key)
        except (ValueError, TypeError) as error:
            raise VisionEdgeError(
                f"[opcua] {self._settings.certificate} or its key cannot be used: {error}",
                fix="give DER (.der) or PEM (.pem) files, the key without a passphrase",
            ) from error

    async def _nodes(self, server: Any) -> dict[str, dict[str, Any]]:
        """Make the nodes; return those of the variables, by source and name."""
        ua = require("asyncua.ua")
        index = await server.register_namespace(NAMESPACE)

        def node_id(*path: str) -> Any:
            return ua.NodeId("/".join((self._station, *path)), index)

        def named(name: str) -> Any:
            return ua.QualifiedName(name, index)

        station = await server.nodes.objects.add_object(node_id(), named(self._station))
        self._vision = await self._systems(server)
        nodes: dict[str, dict[str, Any]] = {}
        for source in self._sources:
            folder = await station.add_object(node_id(source), named(source))
            nodes[source] = {}
            for name, (kind, _) in VARIABLES.items():
                value = ua.Variant(self._current[source][name], ua.VariantType[kind])
                node = await folder.add_variable(node_id(source, name), named(name), value)
                nodes[source][name] = node.nodeid
            if self._vision is not None:
                await self._vision.add(source, folder)
        if self._settings.triggers:
            await self._add_method(station, node_id("Trigger"), named("Trigger"))
        if self._settings.expect:
            await self._add_expect(station, node_id("Expect"), named("Expect"))
        if self._settings.resets:
            await self._add_reset(station, node_id("ResetCounts"), named("ResetCounts"))
        return nodes

    async def _systems(self, server: Any) -> VisionSystems | None:
        """Return what shows the sources as OPC 40100-1 has them, if that is asked for."""
        if not self._settings.machine_vision:
            return None
        types = await VisionTypes.load(server, self._nodeset)
        station = Station(
            self._trigger if self._settings.triggers else None,
            self._expect if self._settings.expect else None,
        )
        return VisionSystems(server, types, self._commanded, self._facts, station)

    async def _add_method(self, station: Any, node_id: Any, name: Any) -> None:
        """Add `Trigger(Source) -> (Accepted, Reason)`; an empty source is all of them."""
        uamethod = require("asyncua").uamethod

        @uamethod  # type: ignore[untyped-decorator]
        async def trigger(parent: Any, source: object) -> tuple[bool, str]:
            if not isinstance(source, str) or len(source) > 256:
                return False, "the source's name is no text, or too long"
            reason = await self._trigger(source or None)
            return reason is None, reason or ""

        await station.add_method(node_id, name, trigger, [_argument("Source")], _answer())

    async def _add_expect(self, station: Any, node_id: Any, name: Any) -> None:
        """Add `Expect(Source, Product) -> (Accepted, Reason)`; an empty product is none."""
        uamethod = require("asyncua").uamethod

        @uamethod  # type: ignore[untyped-decorator]
        async def expect(parent: Any, source: object, product: object) -> tuple[bool, str]:
            texts = [one for one in (source, product) if isinstance(one, str) and len(one) <= 256]
            if len(texts) < 2:
                return False, "the source's or the product's name is no text, or too long"
            reason = await self._expect(texts[0], texts[1] or None)
            return reason is None, reason or ""

        arguments = [_argument("Source"), _argument("Product")]
        await station.add_method(node_id, name, expect, arguments, _answer())

    async def _add_reset(self, station: Any, node_id: Any, name: Any) -> None:
        """Add `ResetCounts() -> (Accepted, Reason)`."""

        @require("asyncua").uamethod  # type: ignore[untyped-decorator]
        async def reset(parent: Any) -> tuple[bool, str]:
            reason = await self._reset_counts()
            return reason is None, reason or ""

        await station.add_method(node_id, name, reset, [], _answer())

    def _warning(self) -> str:
        """Return what a person should know about who may connect, or nothing."""
        open_to_all = self._settings.trusted is None and self._settings.username is None
        if open_to_all and not is_loopback(self._settings.host):
            return "; anyone who reaches it may connect: set trusted, or username"
        return ""


def _argument(name: str, kind: str = "String") -> Any:
    """Return an argument of a method."""
    ua = require("asyncua.ua")
    data_type = ua.NodeId(getattr(ua.ObjectIds, kind))
    return ua.Argument(Name=name, DataType=data_type, ValueRank=-1)


def _answer() -> list[Any]:
    """Return what every method answers."""
    return [_argument("Accepted", "Boolean"), _argument("Reason")]


async def _write(server: Any, nodes: dict[str, Any], values: dict[str, Any]) -> None:
    """Write variables, all with the time of the verdict."""
    ua = require("asyncua.ua")
    time = values.get("Time", datetime.now(timezone.utc))
    for name, value in values.items():
        variant = ua.Variant(value, ua.VariantType[VARIABLES[name][0]])
        data = ua.DataValue(variant, SourceTimestamp=time, ServerTimestamp=time)
        await server.write_attribute_value(nodes[name], data)


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of several events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
