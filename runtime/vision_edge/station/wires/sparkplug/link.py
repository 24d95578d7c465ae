"""One connection of an edge node to a broker, from its opening to its end.

Sparkplug wants data with QoS 0, of which a broker acknowledges nothing. What it has taken is known
by a barrier: a request that it must answer, and that it meets only after all that was sent before.
Leaving a topic that nobody has joined is such a request, in MQTT 3.1.1 and 5, and changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from vision_edge.station.settings.sparkplug import SparkplugSettings
from vision_edge.station.wires.mqtt_connection import LinkError, MqttConnection
from vision_edge.station.wires.sparkplug.edge_node import Message

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

MESSAGE_BYTES = 64 << 10
"""A longer message that comes in is dropped, and counted."""
_INBOX = 200  # messages that wait


class SparkplugLink(MqttConnection):
    """A connection; the client's own thread receives, all else happens in the caller's.

    Args:
        settings: The section `[sparkplug]`.
        client_id: The client's name.
        will: The node's death.
        topics: What to listen to.
        wake: Called when something has come in.

    Attributes:
        listening: Whether the broker has accepted the connection and all subscriptions.
        inbox: Topics, payloads and whether they were retained, in their order.
        dropped: Messages that came and were dropped: too long, or too many at once.

    Raises:
        OSError: If the broker cannot be reached, or the TLS handshake fails.
        VisionEdgeError: If the password or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: SparkplugSettings,
        client_id: str,
        will: Message,
        topics: Sequence[str],
        wake: Callable[[], None],
    ) -> None:
        self.listening = False
        self.inbox: deque[tuple[str, bytes, bool]] = deque()
        self.dropped = 0
        self._topics = topics
        self._barriers: OrderedDict[int, int] = OrderedDict()  # request: number of a verdict
        self._answers: SimpleQueue[int] = SimpleQueue()
        super().__init__(settings, client_id, wake)
        self._client.will_set(*will, qos=1, retain=False)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_unsubscribe = self._on_unsubscribe
        self._open()

    @property
    def waiting(self) -> bool:
        """Whether a barrier is not answered yet."""
        return bool(self._barriers)

    def send(self, message: Message, qos: int = 0) -> None:
        """Publish, never retained."""
        self._client.publish(*message, qos=qos, retain=False)

    def barrier(self, topic: str, sequence: int) -> None:
        """Ask the broker for a sign that it has taken all that was sent.

        Args:
            topic: One that nobody joins.
            sequence: Number of the last verdict that was sent.
        """
        _, request = self._client.unsubscribe(topic)
        if request is not None:
            self._barriers[request] = sequence

    def forget(self) -> None:
        """Let the answers to all barriers so far count for nothing."""
        self._barriers.clear()

    def taken(self) -> int | None:
        """Return the number of the last verdict that the broker has taken; None: nothing new."""
        answered = set()
        while not self._answers.empty():
            answered.add(self._answers.get_nowait())
        done = [sequence for request, sequence in self._barriers.items() if request in answered]
        for request in answered:
            self._barriers.pop(request, None)
        return max(done, default=None)

    def _accepted(self, client: Client, properties: Properties | None) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self, client: Client, _: Any, mid: int, reasons: Sequence[ReasonCode], properties: Any
    ) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                self._end(LinkError(f"the broker refuses the subscription to {topic}", True))
                return
        self.listening = True
        self._wake()

    def _on_unsubscribe(self, client: Client, _: Any, mid: int, *more: Any) -> None:
        self._answers.put(mid)
        self._wake()

    def _on_message(self, client: Client, _: Any, message: Any) -> None:
        room = 2 * _INBOX if "/STATE/" in message.topic else _INBOX  # commands crowd out no host
        if len(message.payload) > MESSAGE_BYTES or len(self.inbox) >= room:
            self.dropped += 1
            return
        self.inbox.append((str(message.topic), bytes(message.payload), bool(message.retain)))
        self._wake()
