"""Peers of the wires, for tests: a real broker that can be killed, and a consumer that counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vision_edge.station.core.wire import Record
from vision_edge.station.wires.payload import OnlyNew

PREFIX, STATION = "plant", "line 1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what or "it did not happen in time"
        time.sleep(0.01)


def record(number: int, source: str = "cam", **more: Any) -> Record:
    return {
        "id": f"{number:012d}",
        "station": STATION,
        "source_name": source,
        "time": "2026-01-01T00:00:00.000+00:00",
        "source": "rtsp://camera/1",
        "frame": number,
        "age_ms": 12.5,
        "label": "valve",
        "score": 0.912345,
        "margin": 0.1,
        "known": True,
        "nearest": "valve",
        "band": "sure",
        "stranger_rate": 0.001,
        **more,
    }


class Broker:
    """mosquitto on a port of its own."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        if shutil.which("mosquitto") is None:
            pytest.skip("mosquitto is not installed")
        self.port = port or free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        text = [f"listener {self.port} 127.0.0.1", "user root", "max_queued_messages 0", *lines]
        if not any(line.startswith("allow_anonymous") for line in lines):
            text.append("allow_anonymous true")
        self._config.write_text("\n".join(text) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def that_remembers(cls, folder: Path, every_s: int = 1) -> Broker:
        """Return one whose sessions survive `kill -9`, as they were when it last saved them."""
        folder.mkdir(parents=True, exist_ok=True)
        where, interval = f"persistence_location {folder}/", f"autosave_interval {every_s}"
        return cls(folder, "persistence true", where, interval)

    def start(self) -> Broker:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["mosquitto", "-c", str(self._config)], stdout=log, stderr=log
            )
        weakref.finalize(self, _end, self.process)  # where a test fails before it kills it
        until(self._listens, what=(self.folder / "log").read_text())
        return self

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def save(self) -> None:
        """Have it write sessions and subscriptions to disk, and wait until it has."""
        assert self.process is not None
        saved = self.folder / "mosquitto.db"
        saved.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until(saved.exists)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


class Consumer:
    """A subscriber with a session that the broker keeps, and the rule for taking verdicts once."""

    def __init__(self, port: int, topic: str = f"{PREFIX}/#", name: str = "consumer") -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.raw: list[Record] = []
        self.taken: list[Record] = []
        self.others: list[tuple[str, bytes]] = []
        self.only_new = OnlyNew()
        self.subscribed = False
        self._topic = topic
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=session)
        self._client.loop_start()
        until(lambda: self.subscribed)

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed = True

    def _on_message(self, client: Any, _: Any, message: Any) -> None:
        if "/verdict/" not in message.topic:
            self.others.append((message.topic, message.payload))
            return
        got = json.loads(message.payload)
        self.raw.append(got)
        if self.only_new.take(got):
            self.taken.append(got)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5.0)

    @property
    def frames(self) -> list[int]:
        return [got["frame"] for got in self.taken]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def certificates(folder: Path) -> None:
    """Make `ca.pem`, `server.pem/.key` for 127.0.0.1 and `client.pem/.key`, with openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def openssl(*arguments: str) -> None:
        environment = {**os.environ, "RANDFILE": str(folder / "random")}
        subprocess.run(
            ["openssl", *arguments], cwd=folder, env=environment, check=True, capture_output=True
        )

    usage = "keyUsage=critical,keyCertSign,cRLSign"
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test-ca", "-addext", usage)  # fmt: skip
    (folder / "leaf.cnf").write_text(
        "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("server", "client"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-out", f"{name}.pem",
                "-extfile", "leaf.cnf")  # fmt: skip
