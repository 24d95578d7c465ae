"""Frames from `gst-launch-1.0` in a process of its own, for an OpenCV without GStreamer.

The process writes GStreamer's data protocol (element `gdppay`, version 1.0): each packet has a
header of 62 bytes with the payload's kind, length and timestamp. It is killed when it stalls, which
nothing inside this process could do to a library that hangs.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import struct
import subprocess
import time

import numpy as np

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources.grabber import Grabbed, Grabber
from vision_edge.runtime.sources.gst_pipelines import to_pipe

_HEADER = struct.Struct(">4xHIQ44x")  # version and flags, kind, length, timestamp in ns, the rest
_BUFFER, _CAPS = 1, 2
_NO_TIMESTAMP = 2**64 - 1
_MAX_PACKET = 400_000_000
_SIZE = re.compile(rb"width=\(int\)(\d+).*?height=\(int\)(\d+)")


class GstPipe(Grabber):
    """A running `gst-launch-1.0`.

    Args:
        pipeline: Up to BGR frames, without a sink.
        name: What to call the source in an error; without credentials.
        open_timeout: Seconds until the first frame.
        read_timeout: Seconds between frames.

    Raises:
        SourceError: If there is no `gst-launch-1.0`, or no frame comes in time.
    """

    fps: float | None = None

    def __init__(self, pipeline: str, name: str, open_timeout: float, read_timeout: float) -> None:
        if shutil.which("gst-launch-1.0") is None:
            raise SourceError(
                f"{name!r} needs GStreamer, and neither OpenCV nor this machine has it",
                fix="install the packages gstreamer1.0-tools and gstreamer1.0-plugins-bad, "
                "or an OpenCV built with GStreamer",
            )
        self._size: tuple[int, int] | None = None
        self._process = subprocess.Popen(
            to_pipe(pipeline),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may name the address with its password
            bufsize=0,
        )
        self._timeout = open_timeout
        self._first = self.grab()
        self._timeout = read_timeout
        if self._first is None:
            self.close()
            raise SourceError(
                f"no camera or stream answers at {name!r}, or GStreamer cannot decode it",
                fix="check the address; see what `gst-launch-1.0` says of it",
            )

    def grab(self) -> Grabbed | None:
        """Wait for the next frame; None if the process ended or nothing came in time."""
        first, self._first = getattr(self, "_first", None), None
        return first or self._next_frame()

    def close(self) -> None:
        """Kill the process and wait for it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _next_frame(self) -> Grabbed | None:
        """Read packets up to the next frame."""
        limit = time.monotonic() + self._timeout
        while (header := self._read(_HEADER.size, limit)) is not None:
            kind, length, nanoseconds = _HEADER.unpack(header)
            payload = self._read(length, limit) if length <= _MAX_PACKET else None
            if payload is None:
                return None
            if kind == _CAPS and (size := _SIZE.search(payload)):
                self._size = (int(size[1]), int(size[2]))
            if kind == _BUFFER and self._size is not None:
                return self._frame(payload, nanoseconds)
        return None

    def _frame(self, payload: bytearray, nanoseconds: int) -> Grabbed | None:
        """Return a packet's picture; GStreamer pads each row of BGR to four bytes."""
        width, height = self._size or (0, 0)
        stride = (3 * width + 3) // 4 * 4
        if len(payload) != stride * height:
            return None
        rows = np.frombuffer(payload, np.uint8).reshape(height, stride)
        image = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
        return Grabbed(image, None if nanoseconds == _NO_TIMESTAMP else nanoseconds / 1e9)

    def _read(self, count: int, limit: float) -> bytearray | None:
        """Read exactly `count` bytes, or None at the end of the stream or past the limit."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, limit - time.monotonic()))
            got = os.readv(descriptor, [view[done:]]) if ready else 0
            if got == 0:
                return None
            done += got
        return data
