"""A handshake that never ends holds a place no longer, and no more of them, than silence does."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from support.station import API, Served, make_certificate, served, settings_for

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.http import tls
from vision_edge.station.http.tls import server_context

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture
def secured(
    bundle_path: Path,
    registered: Path,
    shots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Served, Path]]:
    """A station over TLS with room for few connections, and its certificate."""
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 1.0)
    key, certificate = make_certificate(tmp_path)
    limits = {"max_connections": 24, "max_connections_per_client": 16}
    server = {"tls_cert": certificate, "tls_key": key, **limits}
    settings = settings_for(bundle_path, registered, shots, server=server)
    with served(settings, verify=ssl.create_default_context(cafile=str(certificate))) as running:
        yield running, certificate


@pytest.mark.parametrize("said", [b"", CLIENT_HELLO, b"GET / HTTP/1.1\r\n\r\n"])
def test_who_never_ends_a_handshake_shuts_nobody_out(
    secured: tuple[Served, Path], said: bytes
) -> None:
    running, certificate = secured
    verify = ssl.create_default_context(cafile=str(certificate))
    port = int(running.url.rpartition(":")[2])
    with ExitStack() as held:
        opened = []
        for number in range(90):
            near = (f"127.0.0.{1 + number % 9}", 0)
            one = held.enter_context(socket.create_connection(("127.0.0.1", port), 10, near))
            one.sendall(said)
            opened.append(one)
        for path in ("/livez", "/readyz", f"{API}/status"):
            assert httpx.get(running.url + path, verify=verify).status_code == 200
        assert running.get("/status").status_code == 200
        began = time.monotonic()
        for one in opened:
            with suppress(ConnectionError):
                while one.recv(1000):
                    pass
        assert time.monotonic() - began < 5


def test_what_comes_right_behind_the_handshake_is_heard(secured: tuple[Served, Path]) -> None:
    running, certificate = secured
    context = ssl.create_default_context(cafile=str(certificate))
    port = int(running.url.rpartition(":")[2])
    for _ in range(10):
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as one,
        ):
            one.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            said = b""
            while data := one.recv(1000):
                said += data
            assert said.endswith(b"ok\n")


def test_a_certificate_that_does_not_fit_is_refused_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for certificate in (tmp_path / "no.pem", tmp_path / "absent.pem"):
        with pytest.raises(VisionEdgeError, match="tls_cert") as caught:
            server_context(certificate, certificate)
        assert "PEM" in str(caught.value.fix)
