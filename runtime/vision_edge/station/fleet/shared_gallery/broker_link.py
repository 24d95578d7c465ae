"""One connection to the line's broker, from its opening to its end."""

from __future__ import annotations

import secrets
from queue import Empty, Full, Queue, SimpleQueue
from typing import TYPE_CHECKING, Any

from vision_edge.runtime.errors import require
from vision_edge.station.fleet.shared_gallery.entries import MAX_ENTRY
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt_connection import client_of

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

Message = tuple[str, bytes]
IN_FLIGHT = 64
"""Messages on their way to the broker at most, each of `pictures.PIECE` or an entry."""
INBOX, FULL_S = 2000, 20.0
"""Messages that wait to be looked at; a connection that finds no room for so long is ended."""
CONNECTED: Message = ("", b"connected")


class LineLink:
    """A connection; the client's own thread fills the inbox, all else is the caller's.

    Args:
        settings: The section `[mqtt]`.
        station: The station's name.
        base: First levels of the line's topics, without a slash at the end.
        inbox: Takes `CONNECTED`, then messages with their topics under `base`.

    Raises:
        OSError: If the broker cannot be reached, or the TLS handshake fails.
        VisionEdgeError: If the password or a certificate cannot be read.
    """

    def __init__(
        self, settings: MqttSettings, station: str, base: str, inbox: Queue[Message]
    ) -> None:
        self.ended = ""
        self._base, self._inbox = base + "/", inbox
        self._unanswered: set[int] = set()
        self._answered: SimpleQueue[int] = SimpleQueue()
        name = f"vision-edge-line-{secrets.token_hex(6)}"
        self._client = client_of(settings, name)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.connect(
            settings.host, settings.real_port, settings.keepalive, **_limited(settings)
        )
        self._client.loop_start()

    @property
    def room(self) -> bool:
        """Whether the broker keeps up with what is sent."""
        try:
            while True:
                self._unanswered.discard(self._answered.get_nowait())
        except Empty:
            return len(self._unanswered) < IN_FLIGHT

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish with QoS 1."""
        message = self._client.publish(self._base + topic, payload, qos=1, retain=retain)
        self._unanswered.add(message.mid)

    def subscribe(self, topic: str) -> None:
        """Ask for a topic's messages, kept and coming."""
        self._client.subscribe(self._base + topic, qos=1)

    def unsubscribe(self, topic: str) -> None:
        """Ask for them no more."""
        self._client.unsubscribe(self._base + topic)

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._end(f"the broker refuses the station: {reason}")
            return
        self._put(CONNECTED)

    def _on_disconnect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._end(f"the connection was lost ({reason})")

    def _on_publish(
        self, client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._answered.put(mid)
        if reason.is_failure:
            self._end(f"the broker refuses the line's messages: {reason}")

    def _on_message(self, client: Client, _: Any, message: Any) -> None:
        if len(message.payload) <= MAX_ENTRY + 1 and message.topic.startswith(self._base):
            self._put((message.topic[len(self._base) :], bytes(message.payload)))

    def _put(self, message: Message) -> None:
        """Hand a message over; while there is no room, the broker must wait."""
        if self.ended:
            return
        try:
            self._inbox.put(message, timeout=FULL_S)
        except Full:
            self._end("the line says more than this station can follow")

    def _end(self, why: str) -> None:
        self.ended = self.ended or why


def _limited(settings: MqttSettings) -> dict[str, Any]:
    """Have an MQTT 5 broker keep messages to itself that are larger than any entry."""
    if settings.version != 5:
        return {}
    properties = require("paho.mqtt.properties").Properties(
        require("paho.mqtt.packettypes").PacketTypes.CONNECT
    )
    properties.MaximumPacketSize = MAX_ENTRY + 4096
    return {"properties": properties}
