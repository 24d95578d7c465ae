"""Webhook: verdicts posted to an address of the plant's, signed, in order, from an outbox.

The standard library's `http.client` does it: one address, no redirects, no proxy and no cookies is
what it does by itself, and the station needs no further package.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.settings.wires import WebhookSettings
from vision_edge.station.wires.outbox_file import Entry
from vision_edge.station.wires.outbox_wire import OutboxWire
from vision_edge.station.wires.payload import numbered
from vision_edge.station.wires.secret import read_secret

_LOG = logging.getLogger(__name__)
_ANSWER_BYTES = 64 << 10  # of an answer's body that are read
_WORTH_RETRYING = {408, 425, 429}
SIGNATURE, TIMESTAMP, KEY = "X-Vision-Edge-Signature", "X-Vision-Edge-Timestamp", "Idempotency-Key"


class WebhookWire(OutboxWire):
    """Verdicts to an HTTP server.

    Args:
        settings: The section `[webhook]`.
        state_dir: Folder for the outbox.

    Raises:
        VisionEdgeError: If the outbox or a secret's file cannot be read.
    """

    def __init__(self, settings: WebhookSettings, state_dir: Path) -> None:
        for path in (settings.secret_file, settings.token_file):
            if path is not None:
                read_secret(path)
        self._settings = settings
        self._parts = urlsplit(settings.url)
        self._where = f"{self._parts.scheme}://{self._parts.netloc}"
        self._tls = _tls(settings) if self._parts.scheme == "https" else None
        self._cursor = 0
        super().__init__("webhook", state_dir, settings, longest=settings.retry_longest)

    def _deliver(self) -> None:
        """Post over one connection until it fails."""
        connection = self._connection()
        self._cursor = self.outbox.start
        worked = False
        try:
            while not self._finished():
                after = max(self._cursor, self.outbox.start)
                entries = self.outbox.read(after, self._settings.batch)
                if not entries:
                    self._sleep(0.5)
                elif self._posted(connection, entries):
                    worked = True
                else:
                    return
        except (OSError, http.client.HTTPException) as error:
            if not worked:  # else the server may just have closed an idle connection
                self._say("connecting", f"{self._where}: {str(error) or type(error).__name__}")
        except VisionEdgeError as error:
            self._say("down", error.what)
        finally:
            connection.close()

    def _posted(self, connection: http.client.HTTPConnection, entries: list[Entry]) -> bool:
        """Post once; return whether these entries are done with, for good or ill."""
        status, retry_after = self._answer(connection, self._body(entries), entries)
        if 200 <= status < 300:
            self._backoff.reset()
            self._say("ok", f"{self._where} takes verdicts")
        elif status in _WORTH_RETRYING or status >= 500:
            self._say("connecting", f"{self._where} answers {status}")
            self._closing.wait(retry_after)
            return False
        elif 400 <= status < 500:
            self._give_up(len(entries), f"{self._where} answers {status}")
            self._say("down", f"{self._where} refuses verdicts with {status}")
        else:
            self._say("down", f"{self._where} answers {status}: redirects are not followed")
            return False
        self._cursor = entries[-1].sequence
        self.outbox.acknowledge(self._cursor)
        return True

    def _answer(
        self, connection: http.client.HTTPConnection, body: bytes, entries: list[Entry]
    ) -> tuple[int, float]:
        """Send a request; return the answer's status and the pause it asks for, in seconds."""
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        with _time_limit(self._settings.timeout, connection):
            connection.request("POST", path, body, self._headers(body, entries))
            with connection.getresponse() as response:
                if len(response.read(_ANSWER_BYTES)) == _ANSWER_BYTES or response.will_close:
                    connection.close()  # opened anew with the next request
                wait = response.headers.get("Retry-After", "")
                seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.0
                return response.status, min(seconds, self._settings.retry_longest)

    def _body(self, entries: list[Entry]) -> bytes:
        payloads = [numbered(entry.payload, entry.sequence) for entry in entries]
        return payloads[0] if self._settings.batch == 1 else b"[" + b",".join(payloads) + b"]"

    def _headers(self, body: bytes, entries: list[Entry]) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "vision-edge",
            KEY: f"{entries[0].sequence}-{entries[-1].sequence}",
        }
        if self._settings.secret_file is not None:
            secret = read_secret(self._settings.secret_file).get_secret_value()
            headers[TIMESTAMP] = str(int(time.time()))
            headers[SIGNATURE] = signature(secret, headers[TIMESTAMP], body)
        if self._settings.token_file is not None:
            token = read_secret(self._settings.token_file).get_secret_value()
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _connection(self) -> http.client.HTTPConnection:
        host, port, timeout = self._parts.hostname or "", self._parts.port, self._settings.timeout
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of the header `X-Vision-Edge-Signature`: HMAC-SHA256 of `TIMESTAMP.BODY`."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


class _time_limit:  # noqa: N801 (reads as a statement)
    """Ends a request that takes too long in all, by taking its socket away."""

    def __init__(self, seconds: float, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._seconds, self._over = seconds, False

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._timer.cancel()
        if self._over and error is not None:
            raise TimeoutError(f"no answer within {self._seconds:g} s")

    def _end(self) -> None:
        self._over = True
        with suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)


def _tls(settings: WebhookSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except OSError as error:
        raise VisionEdgeError(
            f"[webhook] tls_ca {settings.tls_ca}: {error}",
            fix="give a PEM file that the station's user may read",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
