"""What every connection to an MQTT broker is: a client, and the word that ended it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.settings.connections import BrokerSettings, is_loopback
from vision_edge.station.wires.secret import read_secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_CONNECT_S = 5.0
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


class MqttConnection:
    """A connection; the client's own thread receives, all else happens in the caller's.

    Whoever derives from it sets what it needs of the client, then calls `_open`.

    Args:
        settings: How the broker is reached.
        client_id: The client's name.
        wake: Called when something has come in.

    Raises:
        VisionEdgeError: If the password or a certificate cannot be read.
    """

    def __init__(self, settings: BrokerSettings, client_id: str, wake: Callable[[], None]) -> None:
        self._settings, self._wake = settings, wake
        self._ended: LinkError | None = None
        self._client = client_of(settings, client_id)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def _open(self) -> None:
        """Connect.

        Raises:
            OSError: If the broker cannot be reached, or the TLS handshake fails.
        """
        settings = self._settings
        self._client.connect(settings.host, settings.real_port, settings.keepalive)
        self._client.loop_start()

    def check(self) -> None:
        """Raise the `LinkError` that ended the connection, if it has ended."""
        if self._ended is not None:
            raise self._ended

    def flush(self, seconds: float) -> None:
        """Wait until all that was published has left, at most so long."""
        deadline = time.monotonic() + seconds
        while self._client.want_write() and self._ended is None and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """End the connection; one in order ends without a last will."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            lasting = str(reason) in LASTING
            self._end(LinkError(f"the broker refuses the station: {reason}", lasting))
            return
        self._accepted(client, properties)

    def _on_disconnect(
        self, client: Client, _: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._end(LinkError(f"the connection was lost ({reason})", str(reason) in LASTING))

    def _end(self, error: LinkError) -> None:
        self._ended = self._ended or error
        self._wake()

    def _accepted(self, client: Client, properties: Properties | None) -> None:
        """Subscribe; in the client's thread."""
        raise NotImplementedError

    def _on_message(self, client: Client, _: Any, message: Any) -> None:
        """Take a message; in the client's thread."""
        raise NotImplementedError


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
