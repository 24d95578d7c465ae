"""The webhook against a real HTTP server that fails, hangs, drips, redirects and refuses."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.wires import free_port, record, until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.wires import WebhookSettings
from vision_edge.station.wires.webhook import WebhookWire


class Server(ThreadingHTTPServer):
    """Answers what it is told to, and keeps what it accepts."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: list[int | str] = []  # for the next requests; then 200
        self.accepted: list[Any] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?line=1"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:  # where a redirect would lead
        self.server.requests.append((f"GET {self.path}", {}, b""))
        self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers.items()), body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == "hang":
            time.sleep(1.0)
            self.close_connection = True
        elif answer == "drip":
            self._drip()
        else:
            self._answer(int(answer), body)

    def _answer(self, status: int, body: bytes) -> None:
        if status == 200:
            self.server.accepted.append(json.loads(body))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def _drip(self) -> None:
        """Send one byte at a time: no single wait is long, the whole is."""
        self.close_connection = True
        try:
            for _ in range(20):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def wire_to(url: str, state_dir: Path, **more: object) -> WebhookWire:
    settings = WebhookSettings(url=url, **{"timeout": 0.4, "retry_longest": 0.1, **more})  # type: ignore[arg-type]
    return WebhookWire(settings, state_dir)


def test_verdicts_are_posted_in_order_over_one_connection(server: Server, tmp_path: Path) -> None:
    wire = wire_to(server.url, tmp_path)
    wire.start(Commands(lambda source: None))
    for number in range(100):
        wire.verdict(record(number))
    until(lambda: wire.health().queued == 0)
    assert [got["frame"] for got in server.accepted] == list(range(100))
    path, headers, body = server.requests[0]
    assert path == "/hook?line=1"
    assert headers["Content-Type"] == "application/json"
    sequence = json.loads(body).pop("sequence")
    assert headers["Idempotency-Key"] == f"{sequence}-{sequence}"
    assert json.loads(body) == {**record(0), "sequence": sequence}
    assert (wire.health().state, wire.health().dropped) == ("ok", 0)
    wire.close()


def test_failures_are_retried_and_nothing_is_lost_or_out_of_order(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [500, "hang", 429, "drip", 503, 408, 200, 302]
    wire = wire_to(server.url, tmp_path)
    for number in range(5):
        wire.verdict(record(number))
    wire.start(Commands(lambda source: None))
    until(lambda: wire.health().queued == 0)
    assert [got["frame"] for got in server.accepted] == list(range(5))
    assert wire.health().dropped == 0
    wire.close()


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_does_not_answer_is_given_up_in_time(
    server: Server, tmp_path: Path, answer: str
) -> None:
    server.answers = [answer] * 50
    wire = wire_to(server.url, tmp_path)
    wire.verdict(record(0))
    began = time.monotonic()
    wire.start(Commands(lambda source: None))
    until(lambda: "127.0.0.1" in wire.health().detail)
    assert 0.3 < time.monotonic() - began < 0.9
    assert wire.health().state == "connecting"
    wire.close()
    assert time.monotonic() - began < 5.0


def test_redirects_are_not_followed(server: Server, tmp_path: Path) -> None:
    server.answers = [307, 301, 303]
    wire = wire_to(server.url, tmp_path)
    wire.verdict(record(0))
    wire.start(Commands(lambda source: None))
    until(lambda: wire.health().state == "down")
    assert "redirects are not followed" in wire.health().detail
    until(lambda: wire.health().queued == 0)
    assert {path for path, _, _ in server.requests} == {"/hook?line=1"}
    assert len(server.accepted) == 1
    wire.close()


def test_what_the_server_refuses_is_given_up_loudly(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [200, 400]
    wire = wire_to(server.url, tmp_path)
    wire.start(Commands(lambda source: None))
    for number in range(2):
        wire.verdict(record(number))
    until(lambda: wire.health().dropped == 1)
    until(lambda: wire.health().state == "down")
    assert "refuses verdicts with 400" in wire.health().detail
    assert "1 verdicts given up" in caplog.text
    wire.verdict(record(2))
    until(lambda: wire.health().state == "ok")
    assert [got["frame"] for got in server.accepted] == [0, 2]
    assert "1 verdicts were given up" in wire.health().detail
    wire.close()


def test_requests_are_signed_and_secrets_are_never_shown(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    (tmp_path / "secret").write_text("top-s3cret\n")
    (tmp_path / "token").write_text("t0ken")
    server.answers = [500]
    wire = wire_to(
        server.url, tmp_path, secret_file=tmp_path / "secret", token_file=tmp_path / "token"
    )
    wire.start(Commands(lambda source: None))
    wire.verdict(record(0))
    until(lambda: wire.health().state == "ok")
    _, headers, body = server.requests[-1]
    stamp = headers["X-Vision-Edge-Timestamp"]
    assert abs(int(stamp) - time.time()) < 30
    expected = hmac.new(b"top-s3cret", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Vision-Edge-Signature"] == f"sha256={expected}"
    assert headers["Authorization"] == "Bearer t0ken"
    shown = f"{wire.health()} {wire!r} {wire._settings!r} {caplog.text}"
    assert "s3cret" not in shown
    assert "t0ken" not in shown
    wire.close()


def test_batches_hold_what_has_come_together(server: Server, tmp_path: Path) -> None:
    wire = wire_to(server.url, tmp_path, batch=40)
    for number in range(100):
        wire.verdict(record(number))
    assert wire.outbox.flush(5.0)
    wire.start(Commands(lambda source: None))
    until(lambda: wire.health().queued == 0)
    assert [len(batch) for batch in server.accepted] == [40, 40, 20]
    assert [got["frame"] for batch in server.accepted for got in batch] == list(range(100))
    wire.close()


def test_verdicts_wait_while_the_server_is_away_even_across_a_restart(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    wire = wire_to(url, tmp_path)
    wire.start(Commands(lambda source: None))
    wire.verdict(record(0))
    until(lambda: "refused" in wire.health().detail)
    wire.close()
    wire = wire_to(url, tmp_path)
    wire.verdict(record(1))
    wire.start(Commands(lambda source: None))
    server = Server(port)
    until(lambda: wire.health().queued == 0)
    assert [got["frame"] for got in server.accepted] == [0, 1]
    wire.close()
    server.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://host/x"}, {"url": "file:///etc/passwd"}, {"url": "https://"},
        {"url": "https://user:secret@host/x"}, {"url": "http://host/a b"},
        {"url": "http://host/\r\nX: y"}, {"url": "http://host/x", "token_file": "t"},
        {"url": "http://host:99999/"}, {"url": "http://host/", "batch": 0},
    ],
)  # fmt: skip
def test_addresses_that_will_not_do_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSettings(**wrong)  # type: ignore[arg-type]
    assert "user:secret" not in str(caught.value)


def test_a_missing_secret_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(VisionEdgeError, match="secret cannot be read"):
        wire_to("http://127.0.0.1:1/", tmp_path, secret_file=tmp_path / "none")
