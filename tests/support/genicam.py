"""A real GigE Vision camera on the loopback: the fake one that comes with Aravis."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis

PROGRAM = "arv-fake-gv-camera-0.8"


@contextmanager
def fake_camera(
    serial: str = "GV01", lost_per_thousand: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the camera, which has its port to itself; tests that run beside each other take turns.

    Args:
        serial: Its serial number.
        lost_per_thousand: Packets that it does not send.
    """
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} of the package aravis-tools is not installed")
    try:
        aravis.library()
    except SourceError as error:
        pytest.skip(str(error))
    with (Path(tempfile.gettempdir()) / "vision-edge-fake-camera.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = [PROGRAM, "-i", "127.0.0.1", "-s", serial, "-r", str(lost_per_thousand)]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 10
            while not any(d.serial == serial for d in aravis.devices()):
                assert time.monotonic() < until, "the fake camera does not answer"
            yield process
        finally:
            process.kill()
            process.wait()
