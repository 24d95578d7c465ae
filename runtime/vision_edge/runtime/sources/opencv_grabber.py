"""Grabbers: one connection to a camera or stream, from opening to its first failure.

OpenCV reads it where its build can, else `gst-launch-1.0` in a process of its own (`gst_pipe.py`);
an address of single pictures is polled (`snapshot_address.py`), a GenICam camera is read by Aravis
(`genicam_grabber.py`).
A grabber belongs to one thread, which opens, reads and closes it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import SourceError, require
from vision_edge.runtime.images.reading import AS_IT_SAYS
from vision_edge.runtime.sources.genicam_address import SCHEME
from vision_edge.runtime.sources.grabber import Grabbed, Grabber, GrabberOptions
from vision_edge.runtime.sources.gst_pipelines import csi_pipeline, stream_pipeline, to_opencv

_LOW_LATENCY = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay|max_delay;0"
_ENVIRONMENT = threading.Lock()
_MANUAL_EXPOSURE = 1  # V4L2_EXPOSURE_MANUAL


def open_grabber(address: int | str, name: str, options: GrabberOptions) -> Grabber:
    """Connect to a camera or stream.

    Args:
        address: Device index, device file, `csi://0`, `gst://PIPELINE`, `genicam://NAME`, or a
            stream's address.
        name: What to call it in an error; without credentials.
        options: How to open it.

    Raises:
        SourceError: If nothing answers, or nothing here can read it.
    """
    if isinstance(address, int) or address.startswith("/dev/"):
        return _open_camera(address, name, options)
    if address.startswith("file://"):
        raise SourceError(
            f"{name!r} is the address of a file, not of a camera or stream",
            fix=f"give its path: {unquote(urlsplit(address).path)}",
        )
    if address.startswith(("http://", "https://")):
        from vision_edge.runtime.sources.snapshot_address import picture_address

        polled = picture_address(address, name, options)
        if polled is not None:
            return polled
        if options.reading != AS_IT_SAYS:
            raise SourceError(
                f"{name!r} gives a stream: what is said of pictures (bits, background) has no "
                "meaning for it",
                fix="leave it out, or give the address of the camera's single pictures",
            )
    if address.startswith(SCHEME):
        from vision_edge.runtime.sources.genicam_grabber import GenicamGrabber

        return GenicamGrabber(address, name, options)
    pipeline = _pipeline(address)
    if options.backend != "gstreamer" and has_gstreamer():
        return _open_opencv(to_opencv(pipeline), name, options, "CAP_GSTREAMER", trusted=True)
    if options.backend == "gstreamer" or address.startswith(("csi://", "gst://")):
        from vision_edge.runtime.sources.gst_pipe import GstPipe

        return GstPipe(pipeline, name, options.open_timeout, options.read_timeout)
    rtsp = address.startswith(("rtsp://", "rtsps://"))
    return _open_opencv(address, name, options, "CAP_FFMPEG", trusted=rtsp)


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer; wheels of PyPI never are."""
    information = require("cv2").getBuildInformation()
    return re.search(r"GStreamer:\s+YES", information) is not None


def _pipeline(address: str) -> str:
    if address.startswith("gst://"):
        return address.removeprefix("gst://")
    if address.startswith("csi://"):
        return csi_pipeline(address)
    return stream_pipeline(address)


class OpenCVGrabber(Grabber):
    """A `cv2.VideoCapture`.

    Args:
        capture: An open one.
        trusted: Whether the timestamps are the sender's; FFmpeg makes some up for MJPEG.
    """

    def __init__(self, capture: Any, *, trusted: bool) -> None:
        cv2 = require("cv2")
        self._capture = capture
        self._error: type[Exception] = cv2.error
        self._position: int = cv2.CAP_PROP_POS_MSEC
        self._trusted = trusted
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        self.fps: float | None = rate if 0 < rate < 1000 else None

    def grab(self) -> Grabbed | None:
        """Wait for the next frame; what OpenCV raises on a broken stream is a failure too."""
        try:
            done, image = self._capture.read()
        except self._error:
            return None
        if not done or image is None or image.size == 0:
            return None
        return Grabbed(as_bgr(image), self._timestamp())

    def close(self) -> None:
        """Release the device."""
        self._capture.release()

    def _timestamp(self) -> float | None:
        if not self._trusted:
            return None
        milliseconds = float(self._capture.get(self._position))
        return milliseconds / 1000.0 if np.isfinite(milliseconds) and milliseconds > 0 else None


def as_bgr(image: Any) -> Image:
    """Return a driver's picture as uint8 (H, W, 3), BGR; a grey one gets three equal channels.

    Raises:
        SourceError: If it is neither BGR nor grey.
    """
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        bgr: Image = image
        return bgr
    if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (1,)):
        grey: Image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
        return grey
    raise SourceError(
        f"the camera delivers {image.dtype} {image.shape}, which is neither BGR nor grey",
        fix="choose another pixel format, such as MJPG or YUYV, with v4l2-ctl",
    )


def _open_camera(device: int | str, name: str, options: GrabberOptions) -> Grabber:
    cv2 = require("cv2")
    with quiet_opencv():
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(
            f"no camera or stream answers at {name!r}",
            fix="list cameras with `ls /dev/video*`; check that you may read the device "
            "(group video) and that no other program holds it",
        )
    if options.exposure is not None:
        _fix_exposure(cv2, capture, name, options.exposure)
    return OpenCVGrabber(capture, trusted=True)


def _fix_exposure(cv2: Any, capture: Any, name: str, exposure: float) -> None:
    """Set a fixed exposure, or say that the driver has none."""
    capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
    if not capture.set(cv2.CAP_PROP_EXPOSURE, exposure):
        capture.release()
        raise SourceError(
            f"camera {name!r} does not let its exposure be set to {exposure:g}",
            fix="see `v4l2-ctl --list-ctrls` for its range, or leave --exposure out",
        )


def _open_opencv(
    address: str, name: str, options: GrabberOptions, api: str, *, trusted: bool
) -> Grabber:
    cv2 = require("cv2")
    parameters = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1000 * options.open_timeout),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1000 * options.read_timeout),
    ]
    if api == "CAP_FFMPEG":  # decoding in several threads holds back a frame each
        parameters += [cv2.CAP_PROP_N_THREADS, 1]
    with quiet_opencv(), _low_latency():
        capture = cv2.VideoCapture(address, getattr(cv2, api), parameters)
    if not capture.isOpened():
        raise SourceError(
            f"no camera or stream answers at {name!r}",
            fix="check the address, user name and password, and that the stream plays elsewhere",
        )
    return OpenCVGrabber(capture, trusted=trusted)


@contextmanager
def _low_latency() -> Iterator[None]:
    """Ask FFmpeg not to buffer, by the environment variable that OpenCV reads when it opens."""
    with _ENVIRONMENT:
        before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = before or _LOW_LATENCY
        try:
            yield
        finally:
            if before is None:
                del os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's own complaints off the terminal: ours say what to do."""
    cv2: Any = require("cv2")
    log = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # OpenCV 5 moved them
    before = log.getLogLevel()
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(before)
