"""A real broker for tests: Debian's mosquitto on a free port, stopped and started at will."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class Mosquitto:
    """A mosquitto process; what it retains survives a restart in `folder`, if asked to.

    Args:
        folder: For its configuration and memory.
        keep: Whether it remembers retained messages over a restart.
    """

    def __init__(self, folder: Path, *, keep: bool = True) -> None:
        program = shutil.which("mosquitto", path=_PLACES)
        if program is None:
            pytest.skip("needs mosquitto (apt install mosquitto)")
        self._program, self._folder, self.port = program, folder, _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"persistence {str(keep).lower()}",
            f"persistence_location {folder}/",
            "user root",
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        config = str(self._folder / "mosquitto.conf")
        self._process = subprocess.Popen(
            [self._program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto does not answer")

    def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
