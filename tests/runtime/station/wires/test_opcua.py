"""OPC UA, with asyncua's own client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Coroutine
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.wires import STATION, free_port, record, until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.wires import OpcuaSettings

asyncua = pytest.importorskip("asyncua")
VARIABLES = ("Label", "Score", "Known", "Band", "AgeMs", "Time", "Sequence", "State")


class Plant:
    """A wire that serves, and what it triggered."""

    def __init__(self, **more: Any) -> None:
        from vision_edge.station.wires.opcua import OpcuaWire

        self.asked: list[str | None] = []
        self.resets: list[str] = []
        settings = OpcuaSettings(port=free_port(), **more)
        self.url = f"opc.tcp://127.0.0.1:{settings.port}/vision-edge"
        self.wire = OpcuaWire(settings, STATION, ["left", "right"])
        with socket.socket() as holder:  # the port is taken at first
            holder.bind(("127.0.0.1", settings.port))
            holder.listen()
            self.wire.start(Commands(self._trigger, self._expect, self.resets.append))
            until(lambda: self.wire.health().state == "down")
            assert str(settings.port) in self.wire.health().detail
        until(lambda: self.wire.health().state == "ok", 20.0)

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def _trigger(self, source: str | None) -> None:
        self.asked.append(source)
        if source == "right":
            raise VisionEdgeError("right is not judged on command")

    def _expect(self, source: str, product: str | None, unregistered: bool) -> None:
        if product == "gone":
            raise VisionEdgeError("'gone' is not registered")
        self.asked.append(f"{source}={product} {unregistered}")

    def run(self, work: Any, **login: str) -> Any:
        """Run `await work(client, node)`, where `node(*names)` is a node below the station."""

        async def connected() -> Any:
            client = asyncua.Client(self.url, timeout=5)
            if "user" in login:
                client.set_user(login["user"])
                client.set_password(login["password"])
            if "security" in login:
                await client.set_security_string(login["security"])
                client.application_uri = "urn:test:client"
            async with client:
                index = await client.get_namespace_index("urn:vision-edge")
                return await work(
                    client,
                    lambda *names: client.get_node(
                        asyncua.ua.NodeId("/".join((STATION, *names)), index)
                    ),
                )

        return within(connected())


def within(work: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(work, 15)

    return asyncio.run(limited())


async def read_all(client: Any, node: Any) -> dict[str, Any]:
    return {name: await node("left", name).read_value() for name in VARIABLES}


def test_a_server_that_starts_says_nothing_of_its_nodes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Plant() as plant:
        plant.run(read_all)
    theirs = [r.getMessage() for r in caplog.records if r.name.startswith("asyncua")]
    assert not [text for text in theirs if "add_node" in text], theirs[:3]
    assert len(theirs) <= 20


async def expecting(plant: Plant, node: Any) -> None:
    """Set what is expected, and read whether a part is it."""

    async def call(*arguments: Any) -> list[Any]:
        return list(await node().call_method(node("Expect"), *arguments))

    assert await call("left", "valve") == [True, ""]
    assert await call("left", "") == [True, ""]
    assert await call("left", "gone") == [False, "'gone' is not registered"]
    assert (await call("left", "x" * 300))[0] is False
    told = {"expected": "valve", "answer": "unsure", "reason": "between", "wrong_rate": 0.1}
    plant.wire.state("left", {"state": "live", "expected": {"product": "bolt"}})
    plant.wire.verdict(record(1, "left", verification=told))
    while await node("left", "Sequence").read_value() < 51:
        await asyncio.sleep(0.01)
    names = ("Verification", "Expected", "Reason", "WrongRate", "ExpectedNow")
    read = [await node("left", name).read_value() for name in names]
    assert read == ["unsure", "valve", "between", 0.1, "bolt"]


def test_a_client_reads_subscribes_and_triggers() -> None:
    with Plant(expect=True) as plant:
        assert plant.run(read_all)["Sequence"] == 0

        async def work(client: Any, node: Any) -> None:
            seen: list[int] = []

            class Changes:
                def datachange_notification(self, node: Any, value: int, data: Any) -> None:
                    seen.append(value)

            subscription = await client.create_subscription(20, Changes())
            await subscription.subscribe_data_change(node("left", "Sequence"), queuesize=1000)
            plant.wire.state("left", {"state": "live"})
            for number in range(50):
                plant.wire.verdict(record(number, "left", score=number / 100))
            plant.wire.verdict(record(1, "nobody"))
            for _ in range(200):
                await asyncio.sleep(0.02)
                if seen[-1:] == [50]:
                    break
            assert seen == list(range(51))
            values = await read_all(client, node)
            time = values.pop("Time")
            assert time.replace(tzinfo=timezone.utc) == datetime(2026, 1, 1, tzinfo=timezone.utc)
            assert values == {
                "Label": "valve", "Score": 0.49, "Known": True, "Band": "sure", "AgeMs": 12.5,
                "Sequence": 50, "State": "live",
            }  # fmt: skip
            with pytest.raises(asyncua.ua.UaError):
                await node("left", "Label").write_value("forged")
            call = node().call_method
            assert await call(node("Trigger"), "left") == [True, ""]
            assert await call(node("Trigger"), "") == [True, ""]
            assert await call(node("Trigger"), "right") == [False, "right is not judged on command"]
            accepted, reason = await call(node("Trigger"), "x" * 1000)
            assert not accepted
            assert "too long" in reason
            assert await node("left", "Verification").read_value() == ""
            await expecting(plant, node)

        plant.run(work)
        assert plant.asked == ["left", None, "right", "left=valve False", "left=None False"]
        assert plant.wire.health().dropped == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`server`, `client` and `stranger`: self-signed certificates, .der, and keys, .pem."""
    folder = tmp_path_factory.mktemp("opcua")
    for name in ("server", "client", "stranger"):
        uri = f"urn:vision-edge:{STATION}" if name == "server" else "urn:test:client"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-keyout", f"{name}.pem", "-out", f"{name}.der", "-outform", "DER",
             "-subj", f"/CN={name}", "-addext",
             f"subjectAltName=URI:{uri.replace(' ', '%20')},DNS:localhost"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    (folder / "trusted").mkdir()
    (folder / "trusted" / "client.der").write_bytes((folder / "client.der").read_bytes())
    (folder / "password").write_text("s3cret-Word")
    return folder


def test_certificate_and_password_are_asked_for(
    certificates: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = certificates
    with Plant(
        security="sign-and-encrypt", certificate=folder / "server.der",
        private_key=folder / "server.pem", trusted=folder / "trusted", username="scada",
        password_file=folder / "password",
    ) as plant:  # fmt: skip

        def secured(name: str) -> str:
            files = f"{folder}/{name}.der,{folder}/{name}.pem,{folder}/server.der"
            return f"Basic256Sha256,SignAndEncrypt,{files}"

        plant.wire.verdict(record(1, "left"))
        good = {"security": secured("client"), "user": "scada", "password": "s3cret-Word"}
        assert plant.run(read_all, **good)["Label"] == "valve"
        for wrong in (
            {"password": "wr0ng-Word"},
            {"user": "somebody"},
            {"security": secured("stranger")},
        ):
            with pytest.raises((asyncua.ua.UaError, ConnectionError)):
                plant.run(read_all, **{**good, **wrong})
        with pytest.raises((asyncua.ua.UaError, ConnectionError)):
            plant.run(read_all, security=secured("client"))  # anonymous
        # A client that opens a channel without security, though the server offers none.
        monkeypatch.setattr(asyncua.Client, "find_endpoint", lambda endpoints, *_: endpoints[0])
        with pytest.raises(asyncua.ua.UaError, match="BadUserAccessDenied"):
            plant.run(read_all, user="scada", password="s3cret-Word")
        assert "s3cret" not in f"{plant.wire.health()} {plant.wire!r} {plant.wire._settings!r}"
    assert "s3cret" not in caplog.text
    assert "wr0ng" not in caplog.text


def test_files_that_are_missing_are_said_at_once(tmp_path: Path) -> None:
    from vision_edge.station.wires.opcua import OpcuaWire

    settings = OpcuaSettings(
        security="sign", certificate=tmp_path / "c.der", private_key=tmp_path / "k.pem"
    )
    with pytest.raises(VisionEdgeError, match=r"c\.der: there is no such file"):
        OpcuaWire(settings, STATION, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"security": "sign"}, {"certificate": "c"}, {"trusted": "t"}, {"username": "u"},
        {"username": "u", "password_file": "p"}, {"security": "basic"},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OpcuaSettings(**wrong)


def test_a_client_that_opens_no_session_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    from vision_edge.station.wires import opcua_clients

    monkeypatch.setattr(opcua_clients, "ACTIVATION_SECONDS", 0.5)
    with Plant() as plant:
        address = ("127.0.0.1", int(plant.url.rpartition(":")[2].partition("/")[0]))
        silent = [socket.create_connection(address, timeout=5) for _ in range(120)]
        for one in silent:
            with one, contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
        assert plant.run(read_all)["Sequence"] == 0


def test_counts_are_variables_and_a_method_resets_them() -> None:
    entry = {
        "source": "left",
        "parts": 3,
        "unsure": 4,
        "unknown": 1,
        "missed": 2,
        "products": {"nüt": 2},
    }
    names = ("Parts", "UnsureParts", "UnknownParts", "MissedParts", "PartsTotal", "Products")

    async def work(client: Any, node: Any) -> Any:
        for _ in range(100):
            values = [await node("left", name).read_value() for name in names]
            if values[0] == 3:
                break
            await asyncio.sleep(0.05)
        return values, await node().call_method(node("ResetCounts"))

    with Plant(resets=True) as plant:
        plant.wire.counts({"sources": [entry], "total": [{**entry, "parts": 5_000_000_000}]})
        values, answer = plant.run(work)
        assert values == [3, 4, 1, 2, 5_000_000_000, '{"nüt": 2}']
        assert answer == [True, ""]
        assert plant.resets == ["opcua"]


def test_silent_clients_of_one_address_or_many_shut_nobody_out() -> None:
    """Within a moment, not after the 10 s that each may take to open a session."""
    with Plant() as plant:
        port = int(plant.url.rpartition(":")[2].partition("/")[0])
        with contextlib.ExitStack() as held:
            for number in range(130):
                near = "127.0.0.7" if number < 40 else f"127.0.0.{20 + number % 9}"
                with contextlib.suppress(OSError):
                    held.enter_context(socket.create_connection(("127.0.0.1", port), 5, (near, 0)))
            began = time.monotonic()
            while not acknowledged(port, plant.url):
                assert time.monotonic() - began < 4
                time.sleep(0.1)
            assert plant.run(read_all)["Sequence"] == 0


def acknowledged(port: int, url: str) -> bool:
    """Whether the server answers a client's first message, which is a Hello."""
    body = struct.pack("<IIIIII", 0, 65536, 65536, 0, 0, len(url)) + url.encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"HELF" + struct.pack("<I", 8 + len(body)) + body)
            return client.recv(3) == b"ACK"
    except OSError:
        return False


def test_who_has_a_session_stays_and_who_asked_for_a_long_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vision_edge.station.wires import opcua_clients

    class Known:
        """A client as asyncua keeps it, as far as the limits look at it."""

        def __init__(self, address: str, session: bool) -> None:
            self.peer_name, self.processor = (address, 1), self
            self.session = self if session else None

        def is_activated(self) -> bool:
            return True

    clients = [Known("10.0.0.1", number % 2 == 0) for number in range(20)]
    gone = opcua_clients._too_many(clients)
    assert gone == [clients[1], clients[3], clients[5], clients[7]]
    many = [Known(f"10.0.{number}.1", number < 95) for number in range(99)]
    assert opcua_clients._too_many(many) == many[95:]
    assert opcua_clients._too_many(many[:90]) == []
