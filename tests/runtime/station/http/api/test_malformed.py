"""A thousand requests that no honest client sends: none fails inside, and nothing is lost."""

from __future__ import annotations

import json
import random
import socket

import httpx
from support.station import API, Served, eventually, jpeg

VALUES = [
    None, True, -1, -7, 1e308, 2**70, "", " ", "\0", "\ud83d", "x" * 300, "../../etc/passwd",
    "' OR 1=1 --", [], {}, [None], {"x": {}}, "<script>", "\u202e", "a\nb", 3.5, ["0" * 24] * 600,
]  # fmt: skip
POSTS = {
    "/products": ("label", "capture", "crop", "accept_warnings"),
    "/products/rename": ("label", "new"),
    "/products/remove": ("label",),
    "/rollback": ("version",),
    "/review/assign": ("ids", "label"),
    "/review/reject": ("ids",),
    "/review/dismiss": ("ids",),
    "/login": ("user", "password"),
    "/captures/" + "0" * 24 + "/check": ("label", "crop"),
    "/sources/nowhere/freeze": (),
}
GETS = ("/verdicts", "/history", "/review", "/sources/good/frame.jpg")
QUERIES = (
    "limit=-1",
    "limit=x",
    "limit=1e9",
    "limit=%00",
    "source=%ff",
    "width=0",
    "fps=nan",
    "&&=",
)
RAW = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"\0\0\0\0\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /api/v1/undo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST /api/v1/undo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"BREW /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
]


def body(chance: random.Random, keys: tuple[str, ...]) -> object:
    if chance.random() < 0.1:
        return chance.choice(VALUES)
    made = {key: chance.choice(VALUES) for key in keys if chance.random() < 0.9}
    if chance.random() < 0.1:
        made["surplus"] = 1
    return made


def garbage(chance: random.Random) -> bytes:
    good = jpeg(3)
    kind = chance.randrange(4)
    if kind == 0:
        return good[: chance.randrange(len(good))]
    if kind == 1:
        return chance.randbytes(chance.randrange(2000))
    if kind == 2:
        broken = bytearray(good)
        for _ in range(50):
            broken[chance.randrange(2, len(broken))] = chance.randrange(256)
        return bytes(broken)
    return chance.choice(
        [b"", b"BM", b"RIFF1234WEBPVP8X", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"]
    )


def request(chance: random.Random, number: int) -> dict[str, object]:
    """Return the arguments of one malformed request."""
    kind = number % 5
    if kind == 0:
        path, keys = chance.choice(list(POSTS.items()))
        content = json.dumps(body(chance, keys)).encode()
        headers = {"Content-Type": b"application/json"}
        return {"method": "POST", "url": API + path, "content": content, "headers": headers}
    if kind == 1:
        path = chance.choice([*POSTS, "/logout", "/products/upload", "/captures"])
        types = ["application/json", "text/plain", "multipart/form-data", "application/xml", "é"]
        headers = {"Content-Type": chance.choice(types).encode("latin-1")}
        content = chance.randbytes(chance.randrange(200))
        return {"method": "POST", "url": API + path, "content": content, "headers": headers}
    if kind == 2:
        path = f"{API}{chance.choice(GETS)}?{chance.choice(QUERIES)}"
        return {"method": chance.choice(["GET", "PUT", "DELETE", "HEAD"]), "url": path}
    if kind == 3:
        files = {
            chance.choice(["image", "picture"]): (chance.choice(["", "a.jpg"]), garbage(chance))
        }
        return {"method": "POST", "url": f"{API}/captures", "files": files}
    files = [("images", ("x", garbage(chance))) for _ in range(chance.randrange(1, 4))]
    data = {"label": chance.choice(["", "ok", "\0", "x" * 300]), "accept_warnings": "maybe"}
    return {"method": "POST", "url": f"{API}/products/upload", "data": data, "files": files}


def test_a_thousand_malformed_requests_break_and_lose_nothing(shared: Served) -> None:
    chance = random.Random(1)
    products = shared.ok(shared.get("/products"))
    statuses: dict[int, int] = {}
    for number in range(1000):
        sent = request(chance, number)
        answer = shared.client.request(**sent)  # type: ignore[arg-type]
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (sent, answer.text)
        if answer.status_code >= 400 and sent["method"] != "HEAD":
            assert set(answer.json()["error"]) == {"code", "what", "fix"}, sent
    assert sum(statuses.values()) == 1000
    assert {404, 405, 422} <= set(statuses)
    assert shared.ok(shared.get("/products")) == products
    seen = shared.station.line("good").frames
    eventually(lambda: shared.station.line("good").frames > seen)


def test_bytes_that_are_hardly_http_break_nothing(shared: Served) -> None:
    port = httpx.URL(shared.url).port
    assert port is not None
    for sent in RAW:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(200)
            assert not answer or answer.split(b" ")[1][:1] in (b"2", b"4"), (sent[:60], answer)
    assert shared.client.get("/readyz").status_code == 200
