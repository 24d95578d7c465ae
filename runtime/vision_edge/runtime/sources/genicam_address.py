"""Addresses of GenICam cameras: which one, and how it is set.

`genicam://` is the only camera there is; `genicam://192.168.1.20?trigger=Line0` gives a frame for
each signal on its line; `genicam://GV01?pixel_format=Mono12&exposure_us=5000&region=0,0,640,480`
sets the camera before it starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from vision_edge.runtime.errors import SourceError

SCHEME = "genicam://"
_FIX = "see docs/reference/cameras.md for what a genicam:// address may say"


@dataclass(frozen=True)
class GenicamSettings:
    """Which camera to open, and how it is set; what is None is left as the camera has it.

    Attributes:
        name: Its id, serial number, address or name; empty: the only one there is.
        pixel_format: By its name in the Pixel Format Naming Convention, such as `BayerRG8`.
        exposure_us: Exposure in microseconds, above 0.
        gain: In the camera's own unit (mostly dB), from 0.
        region: x, y, width, height in pixels of the sensor.
        fps: Frames a second, above 0; with a trigger the most that it answers.
        packet_size: Bytes of a packet of GigE Vision, 576 to 16384: what every device on the way
            lets pass, less for a network without jumbo frames.
        trigger: `off`, `Software`, or the camera's name of a line such as `Line0`; with one each
            frame is kept until it is judged.

    Raises:
        SourceError: If a value is out of its range, or two exclude each other.
    """

    name: str = ""
    pixel_format: str | None = None
    exposure_us: float | None = None
    gain: float | None = None
    region: tuple[int, int, int, int] | None = None
    fps: float | None = None
    trigger: str | None = None
    packet_size: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for key, least in (("exposure_us", 0.0), ("fps", 0.0), ("gain", -math.ulp(0.0))):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > least):
                raise SourceError(f"{key} is {value:g}", fix="give a number above 0")
        if self.packet_size is not None and not 576 <= self.packet_size <= 16384:
            raise SourceError(
                f"packet_size is {self.packet_size}", fix="give 576 to 16384, such as 1400 or 8996"
            )
        if self.region is not None and (min(self.region[:2]) < 0 or min(self.region[2:]) < 1):
            raise SourceError(
                f"region is {self.region}", fix="give x,y,width,height, each from 0, sides from 1"
            )

    @property
    def triggered(self) -> bool:
        """Whether each frame answers a signal."""
        return self.trigger not in (None, "off")

    @property
    def by_software(self) -> bool:
        """Whether each frame answers a command."""
        return self.trigger == "Software"


def parse_genicam(address: str) -> GenicamSettings:
    """Return what a `genicam://` address says.

    Raises:
        SourceError: If it says what no camera can be told.
    """
    name, _, query = address.removeprefix(SCHEME).partition("?")
    values: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in values:
            raise SourceError(f"{address}: {key} is said twice", fix="say it once")
        values[key] = _value(address, key, text)
    try:
        return GenicamSettings(unquote(name.strip("/")), **values)
    except SourceError as error:
        raise SourceError(f"{address}: {error.what}", fix=error.fix or _FIX) from None


def fired_by_software(address: str) -> bool:
    """Whether a source is a camera that takes a picture on command, and none of itself.

    Raises:
        SourceError: If it is a `genicam://` address that says what no camera can be told.
    """
    return address.startswith(SCHEME) and parse_genicam(address).by_software


def _value(address: str, key: str, text: str) -> Any:
    try:
        if key in ("exposure_us", "gain", "fps"):
            return float(text)
        if key == "packet_size":
            return int(text)
        if key == "region":
            x, y, width, height = (int(part) for part in text.split(","))
            return x, y, width, height
    except ValueError:
        raise SourceError(f"{address}: {key}={text} is no such value", fix=_FIX) from None
    if key in ("pixel_format", "trigger") and text:
        return text
    known = "pixel_format, exposure_us, gain, region, fps, trigger, packet_size"
    raise SourceError(f"{address}: it says {key}={text}; known are {known}", fix=_FIX)
