"""A real RTSP server to torment, and a network that stalls: what the fault tests share."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"
_NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0')"


def missing() -> str | None:
    """Return why a real server cannot run here, or None."""
    if not shutil.which(SYSTEM_PYTHON) or not shutil.which("gst-launch-1.0"):
        return "no GStreamer here; see .ci/run for the packages"
    done = subprocess.run([SYSTEM_PYTHON, "-c", _NEEDS], capture_output=True, check=False)
    return (
        "no GStreamer RTSP server here; see .ci/run for the packages" if done.returncode else None
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`rtsp_server.py` in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), str(self.port), *self._options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"serving\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def address(self, port: int | None = None, credentials: str = "") -> str:
        return f"rtsp://{credentials}127.0.0.1:{port or self.port}/line"


class Network:
    """A TCP relay in front of a server that can stall, throttle and cut."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self.flowing = threading.Event()
        self.flowing.set()
        self.bytes_a_second: float | None = None
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.flowing.set()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                client.close()
                continue
            self._pairs += [client, server]
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while True:
                ready, _, _ = select.select([client, server], [], [], 0.5)
                self.flowing.wait()
                for end in ready:
                    data = end.recv(8192)
                    if not data:
                        return
                    other[end].sendall(data)
                    if self.bytes_a_second:
                        time.sleep(len(data) / self.bytes_a_second)
        except OSError:
            return
        finally:
            client.close()
            server.close()


def drawn_ms(image: Any) -> int | None:
    """Return when a picture was drawn, in ms of the monotonic clock; None if it is not whole."""
    stamp = 0
    for bit in range(32):
        row, column = divmod(bit, 8)
        patch = image[row * 30 + 8 : row * 30 + 22, column * 40 + 10 : column * 40 + 30]
        level = float(patch.mean())
        if 64 < level < 192:
            return None
        stamp |= int(level > 128) << bit
    return stamp


def age_ms(image: Any) -> float:
    """Return the true age of a picture, glass to here."""
    stamp = drawn_ms(image)
    assert stamp is not None, "the picture is not whole"
    return (time.monotonic() * 1000 - stamp) % 2**32


def colours_are_bgr(image: Any) -> bool:
    """Whether the lower left is red, and the lower right blue, in BGR."""
    left, right = (image[150:230, x : x + 100].reshape(-1, 3).mean(axis=0) for x in (20, 200))
    return bool(left[2] > 180 > 80 > left[0] and right[0] > 180 > 80 > right[2])


STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
