"""Who says or reads nothing holds a place only until it is needed, and never for long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.station import API, Served, eventually, served, settings_for

from vision_edge.station.http import connections
from vision_edge.station.http.connections import ConnectionLimits, descriptors_for

LIMITS = {"max_connections": 24, "max_connections_per_client": 16, "max_streams": 8}


@pytest.fixture
def small(
    bundle_path: Path,
    registered: Path,
    shots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    """A station that knows a token, with room for few connections, and little patience."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{'t' * 30} operator plc\n")
    server = {"token_file": tokens, **LIMITS}
    with served(settings_for(bundle_path, registered, shots, server=server)) as running:
        running.client.headers["Authorization"] = f"Bearer {'t' * 30}"
        yield running


def connected(held: ExitStack, running: Served, said: bytes = b"") -> socket.socket:
    host, port = running.url.removeprefix("http://").split(":")
    opened = held.enter_context(socket.create_connection((host, int(port)), timeout=10))
    opened.sendall(said)
    return opened


def ended(opened: socket.socket) -> bool:
    try:
        while opened.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_silence_shuts_nobody_out(small: Served, said: bytes) -> None:
    with ExitStack() as held:
        opened = [connected(held, small, said) for _ in range(60)]
        for _ in range(5):
            for path in ("/livez", "/readyz"):
                assert httpx.get(small.url + path).status_code == 200
            assert small.get("/status").status_code == 200
            opened += [connected(held, small, said) for _ in range(10)]
        began = time.monotonic()
        assert all(ended(one) for one in opened)
        assert time.monotonic() - began < 5


def test_bodies_that_never_come_shut_nobody_out(small: Served) -> None:
    login = f"POST {API}/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n\r\n{{"
    with ExitStack() as held:
        for _ in range(60):
            connected(held, small, login.encode())
        assert httpx.get(f"{small.url}/livez").status_code == 200
        assert small.get("/status").status_code == 200


def test_a_body_that_nobody_wants_is_not_read_to_its_end(small: Served) -> None:
    """20 MB for the login are answered at their head; what follows costs the station nothing."""
    head = f"POST {API}/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000000\r\n\r\n"
    sent, piece = 0, b"x" * 65536
    with ExitStack() as held:
        opened = connected(held, small, head.encode())
        began = time.monotonic()
        with pytest.raises((ConnectionError, TimeoutError)):
            while True:
                opened.sendall(piece)
                sent += len(piece)
        assert time.monotonic() - began < 4
    assert sent < 50_000_000  # what the buffers of both ends hold


def test_who_sends_too_much_still_reads_why(small: Served) -> None:
    body = b"x" * 300_000
    known = small.client.post(f"{API}/undo", content=body)
    assert (known.status_code, known.json()["error"]["code"]) == (413, "too_large")
    assert small.get("/status").status_code == 200
    nobody = httpx.post(f"{small.url}{API}/login", content=b"x" * 30_000)
    assert nobody.status_code == 413
    with ExitStack() as held:
        head = f"POST {API}/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000\r\n\r\n"
        opened = connected(held, small, head.encode() + b"x" * 500_000)
        assert opened.recv(100).startswith(b"HTTP/1.1 413")


def test_an_answer_that_is_not_read_is_given_up(small: Served) -> None:
    asked = f"GET {API}/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as held:
        opened = connected(held, small)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.settimeout(0.2)
        began = time.monotonic()
        with pytest.raises((ConnectionError, TimeoutError)):
            while time.monotonic() - began < 8:
                opened.sendall(asked * 50)
        opened.settimeout(10)
        assert ended(opened)
        assert time.monotonic() - began < 8
    assert small.get("/status").status_code == 200


def test_one_client_may_not_have_all_streams(small: Served) -> None:
    with ExitStack() as held:
        statuses = [
            held.enter_context(small.client.stream("GET", f"{API}/verdicts/stream")).status_code
            for _ in range(3)
        ]
    assert statuses == [200, 200, 503]
    eventually(lambda: not small.station.hub.subscribers)


def test_whom_a_proxy_brings_is_not_limited_as_one() -> None:
    from ipaddress import ip_network

    limits = ConnectionLimits(400, 100, [ip_network("10.0.0.0/24")])
    assert [limits.of(client) for client in ("10.0.0.1", "10.0.1.1", "-")] == [400, 100, 100]


def test_descriptors_are_left_to_the_rest_of_the_station() -> None:
    assert descriptors_for(16) == 16
    assert 8 <= descriptors_for(10**9) < 10**9
