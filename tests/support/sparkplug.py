"""A host application of Sparkplug B for tests, whose messages another project decodes: pysparkplug.

`make sparkplug` brings it, beside the packages, since it asks for an older paho-mqtt than ours. Its
client is not used: the connection is paho-mqtt's of today, topics and payloads are pysparkplug's.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.wires import until

if (Path(sys.prefix) / "sparkplug").is_dir():
    sys.path.append(str(Path(sys.prefix) / "sparkplug"))
pysparkplug = pytest.importorskip("pysparkplug", reason="no foreign decoder: make sparkplug")

GROUP, NODE, HOST = "plant", "line 1", "scada"
NUMBER = "Verdict/Sequence"


class Host:
    """Follows one edge node as the specification asks of a primary host, and counts.

    Attributes:
        messages: Verb, device and payload of all that came, in order.
        faults: What an edge node must not do: gaps in sequence numbers, data before a birth, a
            message kept by the broker.
        taken: `Verdict/Sequence` and the frame of each verdict, once.
        repeated: Verdicts that came again.
        tags: By device and metric, the value that is not historical.
    """

    def __init__(self, port: int, name: str = HOST, primary: bool = True) -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.node = NODE
        self.messages: list[tuple[str, str, Any]] = []
        self.faults: list[str] = []
        self.taken: list[tuple[int, int]] = []
        self.historical = self.repeated = self.rebirths = 0
        self.tags: dict[tuple[str, str], Any] = {}
        self.alive: set[str] = set()
        self._name, self._primary = name, primary
        self._births: dict[str, Any] = {}
        self._seq: int | None = None
        self._bd_seq: int | None = None
        self._ask_again = 0.0
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"host-{name}", protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_pre_connect = self._before
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10.0)

    def said(self, verb: str, device: str = "") -> list[Any]:
        return [got for kind, who, got in self.messages if (kind, who) == (verb, device)]

    def tag(self, name: str, device: str = "cam") -> Any:
        return self.tags.get((device, name))

    @property
    def frames(self) -> list[int]:
        return [frame for _, frame in self.taken]

    def write(self, verb: str, name: str, value: Any, device: str = "", kind: str = "") -> None:
        """Send a command as pysparkplug encodes it."""
        types = {
            bool: "BOOLEAN",
            str: "STRING",
            int: "INT64",
            float: "DOUBLE",
            type(None): "STRING",
        }
        kind = kind or types[type(value)]
        now = pysparkplug.get_current_timestamp()
        metric = pysparkplug.Metric(now, name, pysparkplug.DataType[kind], value=value)
        payload = pysparkplug.NCmd(now, (metric,)).encode(include_dtypes=True)
        self.publish(verb, payload, device)

    def publish(self, verb: str, payload: bytes, device: str = "", retain: bool = False) -> None:
        topic = f"spBv1.0/{GROUP}/{verb}/{self.node}" + (f"/{device}" if device else "")
        self._client.publish(topic, payload, retain=retain)

    def say(self, online: bool, at: int | None = None) -> None:
        self._state = self._state if at is None else at
        payload = json.dumps({"online": online, "timestamp": self._state})
        self._client.publish(f"spBv1.0/STATE/{self._name}", payload, qos=1, retain=True)

    def close(self) -> None:
        if self._primary:
            self.say(False, int(time.time() * 1000))
            time.sleep(0.1)
        self._client.disconnect()
        self._client.loop_stop()

    def _before(self, client: Any, _: Any) -> None:
        self._state = int(time.time() * 1000)
        if self._primary:
            will = json.dumps({"online": False, "timestamp": self._state})
            client.will_set(f"spBv1.0/STATE/{self._name}", will, qos=1, retain=True)

    def _on_connect(self, client: Any, *_: Any) -> None:
        self._seq = self._bd_seq = None
        self._births.clear()
        self.alive.clear()
        client.subscribe(f"spBv1.0/{GROUP}/#", qos=1)

    def _on_subscribe(self, *_: Any) -> None:
        if self._primary:
            self.say(True)
        self._subscribed.set()

    def _on_message(self, client: Any, _: Any, message: Any) -> None:
        try:
            self._take(message)
        except Exception as error:
            self.faults.append(f"{message.topic}: {error!r}")

    def _take(self, message: Any) -> None:
        topic = pysparkplug.Topic.from_str(message.topic)
        verb, device = topic.message_type.value, topic.device_id or ""
        if verb in ("NCMD", "DCMD"):
            return
        if "BIRTH" not in verb and verb != "NDEATH" and device not in self._births:
            self._ask_for_births(verb, device)
            return
        got = topic.message_type.payload.decode(message.payload, birth=self._births.get(device))
        self.messages.append((verb, device, got))
        if message.retain or message.qos > (verb == "NDEATH"):
            self.faults.append(f"{message.topic}: retain {message.retain}, QoS {message.qos}")
        if verb == "NDEATH":
            if got.bd_seq_metric.value == self._bd_seq:
                self._seq = None
                self.alive.clear()
            return
        self._check_order(verb, device, got)
        if verb == "NBIRTH":
            self._births.clear()
        if verb in ("NBIRTH", "DBIRTH"):
            self._births[device] = got
            self.alive.add(device)
        if verb == "NBIRTH":
            self._bd_seq = next(m.value for m in got.metrics if m.name == "bdSeq")
            self.alive = {""}
        if verb == "DDEATH":
            self.alive.discard(device)
            del self._births[device]
        for metric in getattr(got, "metrics", ()):
            if not metric.is_historical:
                self.tags[device, metric.name] = metric.value
        if verb == "DDATA":
            self._count({metric.name: metric for metric in got.metrics})

    def _ask_for_births(self, verb: str, device: str) -> None:
        """Ask for a rebirth, since the birth came while this host was away."""
        if self._seq is not None:
            self.faults.append(f"{verb} of {device or 'the node'}, which is not born")
        elif time.monotonic() > self._ask_again:
            self._ask_again = time.monotonic() + 0.5
            self.rebirths += 1
            self.write("NCMD", "Node Control/Rebirth", True)

    def _check_order(self, verb: str, device: str, got: Any) -> None:
        if verb == "NBIRTH":
            if got.seq != 0:
                self.faults.append(f"a birth has the number {got.seq}")
        elif self._seq is None:
            self._ask_for_births(verb, device)
            return
        elif got.seq != (self._seq + 1) % 256:
            self.faults.append(f"{verb} {device}: {got.seq} after {self._seq}")
        if verb in ("DDATA", "DDEATH") and device not in self.alive:
            self.faults.append(f"{verb} of {device}, which is not born")
        self._seq = got.seq

    def _count(self, metrics: dict[str, Any]) -> None:
        if metrics.get(NUMBER) is None or metrics[NUMBER].value is None:
            return
        number = metrics[NUMBER].value
        self.historical += metrics[NUMBER].is_historical
        if self.taken and number <= self.taken[-1][0]:
            self.repeated += 1
            return
        self.taken.append((number, metrics["Verdict/Frame"].value))


def settled(host: Host, count: int, seconds: float = 20.0) -> None:
    """Wait until a host has taken so many verdicts."""
    until(lambda: len(host.taken) >= count, seconds, f"{len(host.taken)} of {count}")
