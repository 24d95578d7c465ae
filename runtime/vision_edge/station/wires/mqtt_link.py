"""One connection to an MQTT broker, from its opening to its end."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt_connection import (
    LASTING,
    LinkError,
    MqttConnection,
    in_the_clear,
)
from vision_edge.station.wires.mqtt_topics import Topics

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_TRIGGER_BYTES, _EXPECT_BYTES = 256, 1024
_COMMANDS = 100  # that wait
_UNHEARD = "No matching subscribers"
_MALFORMED = {"Topic name invalid", "Payload format invalid", "Packet too large"}


class Link(MqttConnection):
    """A connection; the client's own thread receives, all else happens in the caller's.

    Args:
        settings: The section `[mqtt]`.
        client_id: The client's name.
        topics: The station's topics.
        wake: Called when something has come in.

    Attributes:
        connected: Whether the broker has accepted the connection.
        commands: Topics and payloads of the commands that have come in, in their order.
        resets: Payloads of resets that have come in.
        warning: What a person should know about this connection.
        unheard: Whether the broker said (MQTT 5) that nobody subscribes to the last verdict.

    Raises:
        OSError: If the broker cannot be reached, or the TLS handshake fails.
        VisionEdgeError: If the password or a certificate cannot be read.
    """

    def __init__(
        self, settings: MqttSettings, client_id: str, topics: Topics, wake: Callable[[], None]
    ) -> None:
        self.connected = False
        self.commands: deque[tuple[str, bytes]] = deque(maxlen=_COMMANDS)
        self.resets: deque[bytes] = deque(maxlen=1)  # two at once are one
        self._listened = [topics.trigger]
        self._listened += [topics.reset] if settings.resets else []
        self._listened += [topics.expects] if settings.expect else []
        self.warning = in_the_clear(settings)
        self.unheard = False
        self._topics = topics
        self._window = settings.in_flight
        self._in_flight: OrderedDict[int, int] = OrderedDict()  # message number: sequence or 0
        self._answered: set[int] = set()  # of those in flight
        self._answers: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
        super().__init__(settings, client_id, wake)
        self._client.will_set(topics.status, b"offline", qos=1, retain=True)
        self._client.on_publish = self._on_publish
        self._open()

    @property
    def room(self) -> int:
        """How many more messages may be in flight, by the settings and the broker."""
        return max(0, self._window - len(self._in_flight))

    @property
    def waiting(self) -> bool:
        """Whether messages are in flight."""
        return bool(self._in_flight)

    def send(self, topic: str, payload: bytes, sequence: int = 0, retain: bool = False) -> None:
        """Publish with QoS 1; a verdict bears its sequence, other messages 0."""
        message = self._client.publish(topic, payload, qos=1, retain=retain)
        self._in_flight[message.mid] = sequence

    def last_words(self, topic: str, payload: bytes) -> None:
        """Publish retained, past what waits for an acknowledgement."""
        self._client.publish(topic, payload, qos=0, retain=True)

    def acknowledged(self) -> tuple[int | None, int]:
        """Return what was answered since the last call, and how many of it were refusals.

        The first is the highest sequence up to which all is answered, 0 if only other messages
        were, and None if nothing was.

        Raises:
            LinkError: If the broker refuses a verdict, for a reason that may pass.
        """
        refused = self._take_answers()
        done: int | None = None
        while self._in_flight:
            mid, sequence = next(iter(self._in_flight.items()))
            if mid not in self._answered:
                break
            self._answered.remove(mid)
            del self._in_flight[mid]
            done = sequence or done or 0
        return done, refused

    def _take_answers(self) -> int:
        """Note what is answered; return how many the broker refuses for good."""
        refused = 0
        while True:
            try:
                mid, reason = self._answers.get_nowait()
            except Empty:
                return refused
            if mid not in self._in_flight:
                continue
            if reason is not None and reason not in (*_MALFORMED, _UNHEARD):
                raise LinkError(f"the broker refuses verdicts: {reason}", reason in LASTING)
            refused += reason is not None and reason != _UNHEARD
            if self._in_flight[mid]:
                self.unheard = reason == _UNHEARD
            self._answered.add(mid)

    def _accepted(self, client: Client, properties: Properties | None) -> None:
        allowed = getattr(properties, "ReceiveMaximum", None)
        self._window = min(self._window, allowed or self._window)
        client.subscribe([(topic, 2) for topic in self._listened])
        self.connected = True
        self._wake()

    def _on_publish(
        self, client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._answers.put((mid, str(reason) if reason.value else None))
        self._wake()

    def _on_message(self, client: Client, _: Any, message: Any) -> None:
        """Take a command; a retained one is of another time, and none is long."""
        if message.retain:
            return
        short = message.topic in (self._topics.trigger, self._topics.reset)
        if len(message.payload) > (_TRIGGER_BYTES if short else _EXPECT_BYTES):
            return
        if message.topic == self._topics.reset:
            self.resets.append(bytes(message.payload))
        else:
            self.commands.append((str(message.topic), bytes(message.payload)))
        self._wake()
