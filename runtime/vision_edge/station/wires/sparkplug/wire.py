"""Sparkplug B: the station as an edge node, with verdicts from an outbox and commands in.

Births, data and deaths go in one order, numbered by `EdgeNode`. Verdicts come from the outbox,
which lets go of them as it does for MQTT: when the broker was alive for some seconds after it had
taken them. A new connection, a host that comes back and a rebirth that is asked for begin again at
the oldest that is kept, marked as historical; `Verdict/Sequence` tells a consumer what it has had.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.core.product_codes import Codes
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.connections import host_and_port
from vision_edge.station.settings.sparkplug import SparkplugSettings
from vision_edge.station.wires.mqtt_connection import LinkError, check_files, in_the_clear
from vision_edge.station.wires.outbox_file import Entry
from vision_edge.station.wires.outbox_wire import OutboxWire
from vision_edge.station.wires.sparkplug.commands import NodeCommands
from vision_edge.station.wires.sparkplug.device import Device
from vision_edge.station.wires.sparkplug.edge_node import (
    EdgeNode,
    EdgeTopics,
    Message,
    checked_id,
)
from vision_edge.station.wires.sparkplug.link import SparkplugLink
from vision_edge.station.wires.sparkplug.primary_host import PrimaryHost
from vision_edge.station.wires.sparkplug.session_number import SessionNumber
from vision_edge.station.wires.sparkplug.telling import Telling

_LOG = logging.getLogger(__name__)
_ANSWER_S = 10.0  # for a broker to answer a connection
_STUCK_S = 30.0  # without an answer to a barrier
_STEADY_S = 10.0  # after which a connection counts as one that worked
_REBIRTH_S = 1.0  # between two births
_LAST_WORDS_S = 0.3
_FLUSH_S = 0.3
_ECHO_S = 3.0  # for the own birth to come back
_BIRTHS = 16  # that are remembered, to tell another node's from its own


class SparkplugWire(OutboxWire):
    """Verdicts, counts and states to a broker as Sparkplug B, and commands from it.

    Args:
        settings: The section `[sparkplug]`.
        station: The station's name.
        state_dir: Folder for the outbox and the session's number.
        sources: Names of the station's sources.
        commanded: Those of them that are judged on command.
        codes: Products' codes; None: products have none.

    Raises:
        MissingExtraError: If protobuf or paho-mqtt is not installed.
        VisionEdgeError: If a name cannot be a level of a topic, or the outbox, the password's file
            or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: SparkplugSettings,
        station: str,
        state_dir: Path,
        sources: list[str],
        commanded: Collection[str] = (),
        codes: Codes | None = None,
    ) -> None:
        require("google.protobuf")
        require("paho.mqtt.client")
        check_files(settings)
        self._topics = EdgeTopics(settings.group_id, settings.node_id or station)
        self._node = EdgeNode(self._topics, settings.aliases)
        self._devices = {
            checked_id(source): Device(
                source, codes, settings.triggers and source in set(commanded)
            )
            for source in sources
        }
        self._telling = Telling(self._node, self._devices, settings.resets)
        super().__init__("sparkplug", state_dir, settings, settings.repeat_s)
        self._settings = settings
        self._client_id = settings.client_id or f"vision-edge-sparkplug-{station}"
        self._where = host_and_port(settings.host, settings.real_port)
        self._host = None if settings.primary_host is None else PrimaryHost(settings.primary_host)
        self._number = SessionNumber(state_dir / "sparkplug-session")
        self._births: deque[bytes] = deque(maxlen=_BIRTHS)
        self._clash = ""
        self._echoed = False  # whether the last birth has come back
        self._cursor = 0  # number of the last verdict sent on this connection
        self._passed = 0  # number of the last verdict that the broker has taken
        self._old_to = 0  # verdicts up to this number are of the past
        self._settled_at = self._born_at = 0.0
        self._rebirth = False

    def verdict(self, record: Record) -> None:
        """Queue one verdict."""
        super().verdict(record)
        device = self._devices.get(str(record.get("source_name")))
        if device is not None:
            device.verdict(record)

    def state(self, source: str, status: Record) -> None:
        """Take a source's status; what it is now is told, at once and in every birth."""
        if source in self._devices:
            self._devices[source].state(status)
            self._awake.set()

    def counts(self, document: Record) -> None:
        """Take the parts' counts; what they are now is told, at once and in every birth."""
        totals = {entry["source"]: entry["parts"] for entry in document["total"]}
        now = {entry["source"]: entry for entry in document["sources"]}
        for name, device in self._devices.items():
            device.counts(now.get(name, {}), totals.get(name, 0))
        self._telling.shift(str(document.get("shift", "")), str(document.get("since", "")))
        self._awake.set()

    def _deliver(self) -> None:
        """Hold one connection as long as it lasts."""
        will = self._node.connecting(self._number.next())
        try:
            link = SparkplugLink(
                self._settings, self._client_id, will, self._listened(), self._awake.set
            )
        except (OSError, ValueError, VisionEdgeError) as error:
            tls = isinstance(error, (ssl.SSLError, VisionEdgeError))
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._say("down" if tls else "connecting", f"no connection to {self._where}: {reason}")
            return
        began = time.monotonic()
        try:
            self._await_welcome(link)
            self._settled_at = time.monotonic() + self._settings.host_wait_s
            self._live(link)
            self._said = ("connecting", "closed")
        except LinkError as error:
            self._say("down" if error.lasting else "connecting", f"{self._where}: {error}")
        finally:
            self.outbox.rewind()
            link.close()
            if time.monotonic() - began > _STEADY_S:
                self._backoff.reset()

    def _listened(self) -> list[str]:
        """Return what to listen to; the own birth tells a node of the same name."""
        topics = [self._topics.of("NCMD"), self._topics.of("DCMD", "+"), self._topics.of("NBIRTH")]
        return topics if self._host is None else [*topics, self._host.topic]

    def _await_welcome(self, link: SparkplugLink) -> None:
        if self._host is not None:
            self._host.connecting()
        self._clash = ""
        deadline = time.monotonic() + _ANSWER_S
        while not link.listening:
            link.check()
            if time.monotonic() > min(deadline, self._deadline):
                raise LinkError("the broker does not answer")
            self._sleep(0.2)

    def _live(self, link: SparkplugLink) -> None:
        """Be born once the primary host is there, and tell what there is until the end."""
        commands = NodeCommands(self._node, self._devices, self._settings, self._commands)
        while self._host is not None and not self._host.online:
            link.check()
            self._say(
                "connecting",
                f"{self._where}: {self._host.name} is not online yet" + self._remarks(link),
            )
            self._hear(link, commands)
            if self._closing.is_set():
                return
            self._sleep(0.2)
        try:
            self._bear(link)
            self._pump(link, commands)
        finally:
            if self._node_is_alive(link):
                link.send(self._node.death(), qos=1)
                link.flush(_LAST_WORDS_S)

    def _node_is_alive(self, link: SparkplugLink) -> bool:
        try:
            link.check()
        except LinkError:
            return False
        return True

    def _pump(self, link: SparkplugLink, commands: NodeCommands) -> None:
        """Tell births, data and deaths in their order, until the connection ends."""
        progress = time.monotonic()
        while not self._finished():
            link.check()
            self._hear(link, commands)
            if self._rebirth and time.monotonic() - self._born_at > _REBIRTH_S:
                self._bear(link)
            if self._note_taken(link) or not link.waiting:
                progress = time.monotonic()
            if time.monotonic() - progress > _STUCK_S:
                raise LinkError(f"the broker answered nothing for {_STUCK_S:.0f} s")
            self._say("ok", f"connected to {self._where}{self._remarks(link)}")
            told = self._send(link, self._telling.changes())
            sent = self._send_verdicts(link)
            if not sent:
                if self._cursor >= self.outbox.written:
                    self._send(link, self._telling.deaths())
                if not told:
                    self._probe(link)
                    self._sleep(0.2 if self._rebirth else 0.5)

    def _bear(self, link: SparkplugLink) -> None:
        """Send all births, and begin again at the oldest verdict that is kept."""
        self._rebirth = False
        self._born_at = time.monotonic()
        self.outbox.flush(_FLUSH_S)  # so that what births show is of the past
        link.forget()
        self._cursor = self._passed = self.outbox.rewind()
        self._old_to = self.outbox.written
        births = self._telling.births()
        self._births.append(births[0][1])
        self._echoed = False
        self._send(link, births)

    def _send(self, link: SparkplugLink, messages: Iterable[Message]) -> bool:
        """Send messages; return whether there were any."""
        sent = False
        for message in messages:
            link.send(message)
            sent = True
        return sent

    def _send_verdicts(self, link: SparkplugLink) -> bool:
        """Send what the outbox holds, as far as there is room; return whether it was something."""
        after = max(self._cursor, self.outbox.start)
        room = max(0, self._settings.in_flight - (after - max(self._passed, self.outbox.start)))
        entries = self.outbox.read(after, room)
        for entry in entries:
            self._send_verdict(link, entry)
            self._cursor = entry.sequence
        if entries:
            link.barrier(self._topics.barrier, self._cursor)
        return bool(entries)

    def _send_verdict(self, link: SparkplugLink, entry: Entry) -> None:
        try:
            self._send(link, self._telling.verdict(entry, entry.sequence <= self._old_to))
        except ValueError as error:
            self._give_up(1, f"number {entry.sequence} cannot be told: {error}")

    def _note_taken(self, link: SparkplugLink) -> bool:
        """Pass on to the outbox what the broker has taken; return whether there was an answer.

        On a new connection nothing counts as taken until the host is known to be there, or has had
        its time to come back.
        """
        taken = link.taken()
        if taken is not None:
            self._passed = max(self._passed, taken)
            self._backoff.reset()
        fresh = self._host is not None and self._host.fresh
        if taken is not None and (fresh or time.monotonic() >= self._settled_at):
            self.outbox.acknowledge(self._passed)
        return taken is not None

    def _probe(self, link: SparkplugLink) -> None:
        """Have the broker answer, where that would settle what it has taken."""
        unsettled = self.outbox.queued > 0 and time.monotonic() >= self._settled_at
        if (self.outbox.doubtful or unsettled) and not link.waiting:
            link.barrier(self._topics.barrier, self._cursor)

    def _hear(self, link: SparkplugLink, commands: NodeCommands) -> None:
        """Take what has come in, in its order."""
        while link.inbox:
            topic, payload, retained = link.inbox.popleft()
            if self._host is not None and topic == self._host.topic:
                self._heed_host(self._host, payload, retained)
            elif topic == self._topics.of("NBIRTH"):
                self._hear_birth(payload, retained)
            elif not retained:  # a retained command is of another time
                self._rebirth |= commands.carry_out(topic, payload)

    def _hear_birth(self, payload: bytes, retained: bool) -> None:
        """Take the own birth for a sign that the broker passes on, and another for a namesake's."""
        if payload in self._births:
            self._echoed = True
        elif not retained:
            self._clash = "; ANOTHER EDGE NODE HAS THIS NAME: give each its own node_id"
            _LOG.error("%s: another edge node is called %s", self, self._topics)

    def _heed_host(self, host: PrimaryHost, payload: bytes, retained: bool) -> None:
        """Be born anew for a host that has come back; go with one that goes."""
        was_online = host.online
        change = host.take(payload, retained)
        if change == "back":
            self._rebirth = True
        elif change == "offline" and was_online:
            raise LinkError(f"its host {host.name} is offline")

    def _remarks(self, link: SparkplugLink) -> str:
        """Return what a person should know about this connection."""
        remarks = in_the_clear(self._settings) + self._clash
        if self._node.live and not self._echoed and time.monotonic() - self._born_at > _ECHO_S:
            remarks += "; its birth has not come back: see the broker's access list"
        if self._host is None:
            remarks += "; no primary_host: what is told while nobody listens is lost"
        else:
            remarks += self._host.warning
        return remarks + (f"; {link.dropped} messages in were dropped" if link.dropped else "")
