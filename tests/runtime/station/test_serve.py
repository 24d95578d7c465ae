"""The real command, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.runtime import MAIN, invoke
from support.station import API

from vision_edge.runtime.errors import VisionEdgeError


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `vision-edge serve` and yield its process and address; it is killed at the end."""
    command = [sys.executable, "-c", MAIN, "serve", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"serving on (\S+)", line):
                    break
            else:
                raise AssertionError("".join(said))
            yield process, found[1]
        finally:
            process.kill()


def test_sigterm_ends_it_within_five_seconds_in_spite_of_open_streams(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    arguments = (bundle_path, shots, "--gallery", registered, "--port", "0")
    with serving(*arguments) as (process, url), httpx.Client(base_url=url) as client:
        first = client.get(f"{API}/verdicts").json()["verdicts"]
        assert {verdict["label"] for verdict in first} <= {"bolt", "nut", "washer"}
        with (
            client.stream("GET", f"{API}/verdicts/stream") as stream,
            client.stream("GET", f"{API}/sources/camera/preview.mjpeg") as preview,
        ):
            events, pictures = stream.iter_bytes(), preview.iter_bytes()
            next(events)
            next(pictures)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
            assert time.monotonic() - began < 5.0
    with serving(*arguments) as (process, url):
        status = httpx.get(f"{url}{API}/status").json()
        assert status["gallery"] == {"version": 3, "products": 3}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_a_port_that_is_taken_is_named(bundle_path: Path, registered: Path, shots: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", bundle_path, shots, "--gallery", registered, "--port", port)
    assert f"cannot serve on 127.0.0.1:{port}" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent", "0", "--gallery", "g"], "manifest.json cannot be read"),
        (["--config", "absent.toml"], "absent.toml: cannot be read"),
        (["b", "0", "--gallery", "g", "--host", "0.0.0.0"], "users_file or token_file"),
        ([], "bundle is missing"),
    ],
)
def test_a_mistake_names_what_and_how(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("serve", *arguments)
    assert isinstance(result.exception, VisionEdgeError)
    assert said in str(result.exception)
