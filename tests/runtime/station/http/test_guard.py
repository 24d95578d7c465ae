from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.station import API, Served, jpeg, served, settings_for

from vision_edge.station.http import guard
from vision_edge.station.http.guard import SECURITY_HEADERS, host_allowed
from vision_edge.station.settings.station import ServerSettings

LOCAL = ServerSettings(hosts=("line3.plant",))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("127.0.0.1", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("[::1]:8080", True),
        ("[::1]", True),
        ("line3.plant:8080", True),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.7", False),
        ("", False),
        (":8080", False),
        ("line3.plant@evil.example", False),
    ],
)
def test_only_the_stations_own_names_are_answered(host: str, allowed: bool) -> None:
    assert host_allowed(host, LOCAL) is allowed


def test_a_station_on_the_network_answers_to_any_address(tmp_path: Path) -> None:
    server = ServerSettings(host="0.0.0.0", token_file=tmp_path)
    assert host_allowed("10.0.0.7:8080", server)
    assert not host_allowed("evil.example", server)


def test_another_name_for_this_machine_is_refused(shared: Served) -> None:
    answer = shared.get("/status", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://{host}"},
        {"Origin": "ftp://{host}"},
        {"Origin": "{host}"},
        {"Origin": "http://{host}/"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(shared: Served, headers: dict[str, str]) -> None:
    host = shared.url.removeprefix("http://")
    sent = {name: value.replace("{host}", host) for name, value in headers.items()}
    answer = shared.post("/undo", headers=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
    own = {"Origin": shared.url, "Sec-Fetch-Site": "same-origin"}
    assert shared.post("/sources/none/trigger", headers=own).status_code == 404


def test_a_link_from_elsewhere_opens_the_page_but_no_picture(shared: Served) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert shared.client.get("/", headers=link).status_code == 200
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert shared.get("/sources/good/frame.jpg", headers=embedded).status_code == 403


def test_every_answer_bears_the_headers_and_its_identifier(shared: Served) -> None:
    seen = set()
    for path in ("/livez", "/nothing", f"{API}/status", f"{API}/snapshots/1.jpg"):
        headers = shared.client.get(path).headers
        assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        seen.add(headers["x-request-id"])
    assert len(seen) == 4
    assert "server" not in headers


def test_an_upload_over_the_limit_is_refused_whatever_it_declares(shared: Served) -> None:
    big = jpeg(1) + b"\0" * 600_000
    files = {"image": ("a.jpg", big, "image/jpeg")}
    assert shared.post("/captures", files=files).status_code == 413

    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield b"\0" * 10_000

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = shared.client.post(f"{API}/captures", content=pieces(), headers=kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert shared.post("/undo", {"x": "y" * 70_000}).status_code == 413


def test_a_picture_of_too_many_pixels_never_reaches_a_decoder(shared: Served) -> None:
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0" + b"\0" * 50
    answer = shared.post("/captures", files={"image": ("b.png", bomb, "image/png")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_pixels")


def test_no_path_leads_to_the_file_system(shared: Served) -> None:
    for path in (
        "/../../etc/passwd", "/static/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
        f"{API}/snapshots/..%2f..%2fetc%2fpasswd.jpg", f"{API}/review/%2fetc%2fpasswd.jpg",
        f"{API}/sources/..%2f..%2fetc/frame.jpg", f"{API}/captures/..%00.jpg",
    ):  # fmt: skip
        with socket.create_connection(("127.0.0.1", httpx.URL(shared.url).port or 0)) as raw:
            raw.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b""
            while chunk := raw.recv(65536):
                answer += chunk
        assert b"root:" not in answer
        assert answer.split(b" ", 2)[1] in (b"404", b"422"), (path, answer[:100])


def test_too_many_requests_and_too_many_streams_have_to_wait(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    server = {"requests_per_second": 5, "max_streams": 1}
    with served(settings_for(bundle_path, registered, shots, server=server)) as running:
        with running.client.stream("GET", f"{API}/verdicts/stream") as response:
            assert response.status_code == 200
            pieces = response.iter_bytes()
            next(pieces)
            second = running.get("/verdicts/stream")
            assert (second.status_code, second.json()["error"]["code"]) == (503, "too_many_streams")
        answers = [running.get("/me") for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200 and refused
        assert all(answer.headers["retry-after"] for answer in refused)
        assert running.client.get("/livez").status_code == 200


def test_a_body_that_trickles_in_is_given_up(
    shared: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    lines = ["POST /api/v1/login HTTP/1.1", "Host: localhost", "Content-Length: 20"]
    lines += ["Content-Type: application/json", "Connection: close", "", "{"]
    with socket.create_connection(("127.0.0.1", httpx.URL(shared.url).port or 0)) as raw:
        raw.settimeout(5)
        raw.sendall("\r\n".join(lines).encode())
        assert raw.recv(200).startswith(b"HTTP/1.1 408")


def test_a_failure_inside_is_told_without_its_traceback(
    shared: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(shared.station, "status", fail)
    answer = shared.get("/status")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.headers["x-request-id"] in answer.json()["error"]["fix"]
    assert "secret detail" not in answer.text
