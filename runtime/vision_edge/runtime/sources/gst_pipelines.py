"""GStreamer pipelines for cameras and streams, as text; each ends before its sink, in BGR."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import lru_cache

from vision_edge.runtime.errors import SourceError

_BGR = "video/x-raw,format=BGR"
_TO_BGR = f"videoconvert ! {_BGR}"
_JETSON = f"nvvidconv ! video/x-raw,format=BGRx ! {_TO_BGR}"
_LATEST = "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0"


def csi_pipeline(address: str) -> str:
    """Return the pipeline of a CSI camera from `csi://0`, or `csi://0?width=1280&height=720&fps=30`.

    Raises:
        SourceError: If the address is none of a CSI camera.
    """
    matched = re.fullmatch(r"csi://(\d{1,2})(?:\?([a-z0-9=&]*))?", address)
    if matched is None:
        raise SourceError(
            f"{address!r} names no CSI camera", fix="use csi://0, or csi://0?width=1280&height=720"
        )
    wanted = {"width": "1280", "height": "720", "fps": "30", **_query(address, matched[2] or "")}
    caps = f"width={wanted['width']},height={wanted['height']},framerate={wanted['fps']}/1"
    if has_element("nvarguscamerasrc"):
        return (
            f"nvarguscamerasrc sensor-id={matched[1]} ! "
            f"video/x-raw(memory:NVMM),{caps} ! {_JETSON} ! {_LATEST}"
        )
    return f"libcamerasrc ! video/x-raw,{caps} ! {_TO_BGR} ! {_LATEST}"


def stream_pipeline(address: str) -> str:
    """Return the pipeline of an RTSP or HTTP stream; the newest frame is all that it holds."""
    quoted = shlex.quote(address)
    source = f"souphttpsrc location={quoted} is-live=true"
    if address.startswith(("rtsp://", "rtsps://")):
        source = f"rtspsrc location={quoted} latency=0 protocols=tcp buffer-mode=none"
    convert = _JETSON if has_element("nvvidconv") else _TO_BGR
    return f"{source} ! decodebin ! {convert} ! {_LATEST}"


def to_opencv(pipeline: str) -> str:
    """Return a pipeline that ends in the sink that OpenCV reads."""
    return f"{pipeline} ! appsink drop=true max-buffers=1 sync=false"


def to_pipe(pipeline: str) -> list[str]:
    """Return the command line that writes a pipeline's frames to its standard output.

    `gdppay` puts before each frame its size and timestamp, and before the first the picture's size.
    """
    sink = f"{pipeline} ! gdppay ! fdsink fd=1 sync=false"
    return ["gst-launch-1.0", "-q", *shlex.split(sink)]


@lru_cache(maxsize=8)
def has_element(name: str) -> bool:
    """Whether this machine's GStreamer has an element of that name."""
    if shutil.which("gst-inspect-1.0") is None:
        return False
    done = subprocess.run(["gst-inspect-1.0", "--exists", name], capture_output=True, check=False)
    return done.returncode == 0


def _query(address: str, text: str) -> dict[str, str]:
    pairs = dict(part.partition("=")[::2] for part in text.split("&") if part)
    unknown = set(pairs) - {"width", "height", "fps"}
    if unknown or not all(value.isdecimal() for value in pairs.values()):
        raise SourceError(
            f"{address!r}: understood are width, height and fps, as whole numbers",
            fix="use csi://0?width=1280&height=720&fps=30",
        )
    return pairs
