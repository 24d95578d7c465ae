"""What the station's tests share: settings of small stations, and stations that are served."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest

from support.runtime import picture
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.station.core.station import Station
from vision_edge.station.server import StationServer
from vision_edge.station.settings.station import StationSettings

API = "/api/v1"


def settings_for(
    bundle: Path, gallery: Path, *addresses: str | Path | dict[str, Any], **sections: Any
) -> StationSettings:
    """Return settings of a station; a source is an address, or a table of settings."""
    sources = [
        {"name": f"source-{number}", **_table(address)} for number, address in enumerate(addresses)
    ]
    server = {"port": 0, "requests_per_second": 10_000, **sections.pop("server", {})}
    return StationSettings(  # type: ignore[call-arg]
        bundle=bundle, gallery=gallery, sources=sources, provider="cpu", threads=1,
        server=server, **sections,
    )  # fmt: skip


def _table(address: str | Path | dict[str, Any]) -> dict[str, Any]:
    if isinstance(address, dict):
        return {**address, "address": str(address["address"])}
    return {"address": str(address), "loop": True, "fps": 30}


def strangers(folder: Path, count: int = 3) -> Path:
    """Write pictures that show no product, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        assert cv2.imwrite(str(folder / f"{number}.png"), picture(500 + number, 96))
    return folder


def sharp(number: int, side: int = 128) -> Image:
    """Return a picture that the quality gate passes: uint8 (side, side, 3), BGR."""
    return picture(number, side)


def jpeg(number: int, side: int = 128) -> bytes:
    """Return `sharp` as JPEG."""
    return encode_jpeg(sharp(number, side))


def eventually(what: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)
    return found


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine that vouches for itself; return its key, and it: PEM."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    line += " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = [*line.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@dataclass
class Served:
    """A station that is served."""

    station: Station
    url: str
    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(API + path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(API + path, json=json, **options)

    def ok(self, response: httpx.Response, status: int = 200) -> Any:
        assert response.status_code == status, response.text
        return response.json()


@contextmanager
def served(settings: StationSettings, verify: Any = True) -> Iterator[Served]:
    """Start a station and its server; the client bears the CSRF token of a local user."""
    with Station(settings) as station:
        server = StationServer(station)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        eventually(lambda: server.started)
        try:
            with httpx.Client(base_url=server.address, timeout=10.0, verify=verify) as client:
                if not settings.server.guarded:
                    client.headers["X-CSRF-Token"] = client.get(f"{API}/me").json()["csrf"]
                yield Served(station, server.address, client)
            eventually(lambda: not server.server_state.connections)
        finally:
            server.should_exit = True
            thread.join(5.0)
            assert not thread.is_alive()
