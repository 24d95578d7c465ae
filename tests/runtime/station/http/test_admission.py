"""What is decided before a byte of a body is read, and how much may be under way at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from support.station import API, Served, eventually, jpeg, served, settings_for, sharp

from vision_edge.station.core import captures as captures_module
from vision_edge.station.core.captures import Captures
from vision_edge.station.http import admission
from vision_edge.station.settings.station import ServerSettings

LIMITS = {
    "max_upload_mb": 0.5, "max_uploading_mb": 0.6, "max_pixels": 20_000,
    "max_pixels_at_once": 40_000,
}  # fmt: skip
TOKEN = "t" * 30


@pytest.fixture(scope="module")
def small(
    bundle_path: Path, _registered: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("admission")
    gallery = folder / "parts.gallery"
    gallery.write_bytes(_registered.read_bytes())
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN} operator plc\n")
    server = {"token_file": tokens, **LIMITS}
    with served(settings_for(bundle_path, gallery, shots, server=server)) as running:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield running


def head_only(running: Served, path: str, *headers: str) -> tuple[int, socket.socket]:
    """Send a request's head alone; return the status that answers it."""
    host, port = running.url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=5)
    lines = [f"POST {API}{path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    opened.sendall("\r\n".join(lines).encode())
    return int(opened.recv(4096).split()[1]), opened


@pytest.mark.parametrize("size", ["Content-Length: 20000000", "Content-Length: 400000"])
@pytest.mark.parametrize(
    ("path", "status"), [("/login", 413), ("/captures", 401), ("/products/upload", 401)]
)
def test_nobodys_body_is_refused_before_it_comes(
    small: Served, path: str, status: int, size: str
) -> None:
    kind = "Content-Type: multipart/form-data; boundary=x"
    answered, opened = head_only(small, path, kind, size)
    opened.close()
    assert answered == status


def test_nobodys_endless_body_is_refused(small: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    for path, statuses in (("/login", {413}), ("/captures", {401}), ("/nothing", {401})):
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = httpx.post(f"{small.url}{API}{path}", content=pieces(), headers=kind)
        assert answer.status_code in statuses


def test_the_route_says_how_much_it_takes(small: Served) -> None:
    kind = "Content-Type: multipart/form-data; boundary=x"
    for path in ("/undo", "/review/dismiss", "/products"):
        answered, opened = head_only(
            small, path, kind, "Content-Length: 100000", f"Authorization: Bearer {TOKEN}"
        )
        opened.close()
        assert answered == 413, path


def test_uploads_under_way_share_a_budget(small: Served) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        head = (
            f"POST {API}/captures HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 499999\r\n\r\n--x\r\n"
        )
        slow.sendall(head.encode())
        files = {"image": ("a.jpg", jpeg(1) + b"\0" * 200_000, "image/jpeg")}
        busy = eventually(
            lambda: (a := small.post("/captures", files=files)).status_code == 503 and a
        )
        assert busy.json()["error"]["code"] == "busy" and busy.headers["retry-after"] == "1"
        assert small.get("/status").status_code == 200
    eventually(lambda: small.post("/captures", files=files).status_code == 201)


def test_pictures_that_fit_one_by_one_do_not_all_together(small: Served) -> None:
    files = [("images", (f"{n}.jpg", jpeg(n), "image/jpeg")) for n in range(3)]
    answer = small.post("/products/upload", data={"label": "many"}, files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_pixels")
    few = small.post(
        "/products/upload", data={"label": "few", "accept_warnings": "true"}, files=files[:2]
    )
    assert few.status_code == 201, few.text


def test_large_pictures_take_turns(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a core for seconds; all at once they would take them from the verdicts."""
    monkeypatch.setattr(admission, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(admission, "LARGE_WAIT_S", 0.3)
    files = {"image": ("a.jpg", jpeg(1), "image/jpeg")}
    with admission._large:
        busy = small.post("/captures", files=files)
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")
    for _ in range(3):  # and each gives its turn back
        assert small.post("/captures", files=files).status_code == 201


def test_an_upload_waits_as_it_came_and_is_registered_as_it_came(small: Served) -> None:
    sent = jpeg(7)
    answer = small.ok(small.post("/captures", files={"image": ("a.jpg", sent, "image/jpeg")}), 201)
    assert (answer["width"], answer["height"]) == (128, 128)
    asked = {"label": "seven", "capture": answer["capture"], "accept_warnings": True}
    (snapshot,) = small.ok(small.post("/products", asked), 201)["snapshots"]
    assert small.get(f"/snapshots/{snapshot}.jpg").content == sent


def test_captures_keep_no_decoded_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.full((2000, 2000, 3), 90, np.uint8)
    captures = Captures(60)
    for kind in (".jpg", ".png"):
        data = cv2.imencode(kind, image)[1].tobytes()
        kept = [captures.add(image, "upload", upload=data) for _ in range(16)]
        assert sum(capture.bytes for capture in kept) < 16 * 200_000 < image.nbytes
        assert np.array_equal(kept[0].picture().image, image)
    monkeypatch.setattr(captures_module, "MAX_BYTES", 3 * image.nbytes)
    for _ in range(16):
        last = captures.add(image, "a camera")
    assert len(captures) == 2 and captures.get(last.id) is last


def test_one_upload_always_fits() -> None:
    for wrong in ({"max_uploading_mb": 1.0}, {"max_pixels_at_once": 1_000_000}):
        with pytest.raises(ValueError, match="one upload must fit"):
            ServerSettings(**wrong)


def test_an_upload_of_a_deep_camera_is_read_by_the_bits_that_the_sources_say(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    deep = cv2.imencode(".png", sharp(7).astype(np.uint16) << 4)[1].tobytes()
    files = {"image": ("deep.png", deep, "image/png")}
    with served(settings_for(bundle_path, registered, shots)) as plain:
        refused = plain.post("/captures", files=files)
        assert refused.status_code == 422
        assert "12 bits are used" in refused.text
    with served(settings_for(bundle_path, registered, {"address": shots, "bits": 12})) as station:
        answer = station.ok(station.post("/captures", files=files), 201)
        capture = station.station.captures.get(answer["capture"])
        assert np.abs(capture.image.astype(int) - sharp(7)).max() <= 1
