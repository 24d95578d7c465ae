"""Another program holds the gallery's file: whoever changes it is told, and all else goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.station import API, Served, eventually, jpeg

from vision_edge.runtime.errors import GalleryBusyError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.station.core import products

HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
held.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, mode: str) -> Iterator[None]:
    """Hold a gallery in another process; in the mode EXCLUSIVE nobody else can read it either."""
    command = [sys.executable, "-c", HOLD, str(path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.kill()


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_others_are_answered_while_registrations_wait(live: Served, mode: str) -> None:
    path = live.station.products.path
    url, headers = live.url + API, dict(live.client.headers)
    ends: list[tuple[int, str, float]] = []

    def register(number: int) -> None:
        files = {"images": (f"{number}.jpg", jpeg(2000 + number), "image/jpeg")}
        data = {"label": f"new {number}", "accept_warnings": "true"}
        began = time.monotonic()
        answer = httpx.post(
            f"{url}/products/upload", files=files, data=data, headers=headers, timeout=60
        )
        ends.append((answer.status_code, answer.text, time.monotonic() - began))

    version = live.station.products.version
    waiting = [threading.Thread(target=register, args=(k,), daemon=True) for k in range(45)]
    with held(path, mode):
        for thread in waiting:
            thread.start()
        times, told = [], set()
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            for asked in ("/livez", "/readyz", f"{API}/status", f"{API}/products", f"{API}/me"):
                began = time.monotonic()
                answer = live.client.get(asked)
                times.append(time.monotonic() - began)
                assert answer.status_code == 200, answer.text
            assert len(live.ok(live.get("/products"))["products"]) == 3
            began = time.monotonic()
            pictures = live.get("/snapshots/1.jpg")
            assert time.monotonic() - began < 2
            assert pictures.status_code == (200 if mode == "NORMAL" else 503)
            told.add(live.ok(live.get("/verdicts?limit=1"))["verdicts"][0]["id"])
        assert len(told) > 5
        assert np.percentile(times, 95) < 1.0
        eventually(lambda: len(ends) >= 30, 20)
        if mode == "EXCLUSIVE":
            eventually(lambda: "another program holds it" in str(live.ok(live.get("/status"))), 20)
            assert str(path.parent) not in str(live.ok(live.get("/status"))["notes"])
    for thread in waiting:
        thread.join(20)
    assert len(ends) == 45
    refused = [text for status, text, _ in ends if status == 503]
    assert len(refused) >= 30
    assert all("busy" in text and "nothing was changed" in text for text in refused)
    assert {status for status, _, _ in ends} <= {201, 503}
    assert max(took for _, _, took in ends) < products.TURN_WAIT_S + products.CHANGE_WAIT_S + 3
    made = sum(status == 201 for status, _, _ in ends)
    assert live.station.products.version == version + made
    eventually(lambda: not live.station.products.held)
    register(99)
    assert ends[-1][0] == 201
    assert live.get("/snapshots/1.jpg").status_code == 200


def test_a_held_gallery_says_so_on_the_command_line_s_own_terms(registered: Path) -> None:
    with held(registered, "EXCLUSIVE"):
        for kind in (Gallery, GalleryReader):
            began = time.monotonic()
            with pytest.raises(
                GalleryBusyError, match=r"holds it for longer than 0\.2 s"
            ) as caught:
                kind(registered, wait_s=0.2)
            assert time.monotonic() - began < 5
            assert "try again" in str(caught.value.fix)
