"""One connection to an MQTT broker, from its opening to its end."""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.settings.connections import BrokerSettings, is_loopback
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt_topics import Topics
from vision_edge.station.wires.secret import read_secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_CONNECT_S = 5.0
_TRIGGER_BYTES, _EXPECT_BYTES = 256, 1024
_COMMANDS = 100  # that wait
_UNHEARD = "No matching subscribers"
_MALFORMED = {"Topic name invalid", "Payload format invalid", "Packet too large"}
LASTING = {
    "Bad user name or password", "Not authorized", "Banned", "Client identifier not valid",
    "Unsupported protocol version", "Session taken over", "Bad authentication method",
}  # fmt: skip
"""Reasons of a broker that need a person."""


class LinkError(Exception):
    """A connection has failed or ended.

    Args:
        what: Why, for a person.
        lasting: Whether it needs a person.
    """

    def __init__(self, what: str, lasting: bool = False) -> None:
        super().__init__(what)
        self.lasting = lasting


class Link:
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
        self._topics, self._wake = topics, wake
        self._window = settings.in_flight
        self._ended: LinkError | None = None
        self._in_flight: OrderedDict[int, int] = OrderedDict()  # message number: sequence or 0
        self._answered: set[int] = set()  # of those in flight
        self._answers: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
        self._client = client_of(settings, client_id)
        self._client.will_set(topics.status, b"offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.connect(settings.host, settings.real_port, settings.keepalive)
        self._client.loop_start()

    @property
    def room(self) -> int:
        """How many more messages may be in flight, by the settings and the broker."""
        return max(0, self._window - len(self._in_flight))

    @property
    def waiting(self) -> bool:
        """Whether messages are in flight."""
        return bool(self._in_flight)

    def check(self) -> None:
        """Raise the `LinkError` that ended the connection, if it has ended."""
        if self._ended is not None:
            raise self._ended

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

    def flush(self, seconds: float) -> None:
        """Wait until all that was published has left, at most so long."""
        deadline = time.monotonic() + seconds
        while self._client.want_write() and self._ended is None and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """End the connection; a connection in order ends without a last will."""
        self._client.disconnect()
        self._client.loop_stop()

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

    def _on_connect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            what = f"the broker refuses the station: {reason}"
            self._end(LinkError(what, str(reason) in LASTING))
            return
        allowed = getattr(properties, "ReceiveMaximum", None)
        self._window = min(self._window, allowed or self._window)
        client.subscribe([(topic, 2) for topic in self._listened])
        self.connected = True
        self._wake()

    def _on_disconnect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._end(LinkError(f"the connection was lost ({reason})", str(reason) in LASTING))

    def _end(self, error: LinkError) -> None:
        self._ended = self._ended or error
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


def check_files(settings: BrokerSettings) -> None:
    """Read the files that the settings name, to complain at once.

    Raises:
        VisionEdgeError: If one cannot be read or is not what it should be.
    """
    if settings.password_file is not None:
        read_secret(settings.password_file)
    if settings.tls:
        _tls(settings)


def client_of(settings: BrokerSettings, client_id: str) -> Client:
    """Return a client of paho for these settings, not yet connected."""
    paho = require("paho.mqtt.client")
    version = paho.MQTTv5 if settings.version == 5 else paho.MQTTv311
    client: Client = paho.Client(
        require("paho.mqtt.enums").CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=version,
        reconnect_on_failure=False,
        **({} if settings.version == 5 else {"clean_session": True}),
    )
    client.connect_timeout = _CONNECT_S
    client.max_inflight_messages_set(settings.in_flight)  # the broker's limit is kept by `room`
    client.max_queued_messages_set(0)
    if settings.tls:
        client.tls_set_context(_tls(settings))
    if settings.username is not None:
        secret = None
        if settings.password_file is not None:
            secret = read_secret(settings.password_file).get_secret_value()
        client.username_pw_set(settings.username, secret)
    return client


def _tls(settings: BrokerSettings) -> ssl.SSLContext:
    """Return what a connection is encrypted and verified with."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (OSError, ValueError) as error:
        raise VisionEdgeError(
            f"[{settings.section}] tls_ca {settings.tls_ca}, tls_cert {settings.tls_cert}: {error}",
            fix="give PEM files that the station's user may read; a key without a passphrase",
        ) from error
    return context


def in_the_clear(settings: BrokerSettings) -> str:
    """Return what a person should know about this connection, or nothing."""
    if settings.password_file is None or settings.tls or is_loopback(settings.host):
        return ""
    return "; the password crosses the network unencrypted: set tls = true"
