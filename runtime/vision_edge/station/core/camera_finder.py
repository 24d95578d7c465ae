"""GenICam cameras on the station's networks: which there are, and whether an address works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.genicam_address import SCHEME, GenicamSettings, parse_genicam
from vision_edge.runtime.sources.genicam_grabber import chosen
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings, LiveSource
from vision_edge.station.core.errors import BusyError
from vision_edge.station.settings.station import SourceSettings

_PATIENCE = 4.0
"""Seconds that a first picture may take."""


@dataclass(frozen=True)
class FoundCamera:
    """A camera that answered.

    Attributes:
        address: What to write into a source's `address`.
        model: Maker and model.
        where: IP address, or where it is plugged in.
        serial: Serial number.
        source: The station's source that has it; None where none does.
    """

    address: str
    model: str
    where: str
    serial: str
    source: str | None


@dataclass(frozen=True)
class CameraTrial:
    """What came of trying an address.

    Attributes:
        width: Of its picture in pixels; None where none came, since none was due.
        height: The same.
        ms: From opening to the first picture.
        message: In words.
    """

    width: int | None
    height: int | None
    ms: float
    message: str


class CameraFinder:
    """Looks for cameras, for one who asks at a time.

    Args:
        sources: The station's.
    """

    def __init__(self, sources: Sequence[SourceSettings]) -> None:
        self._sources = sources
        self._looking = threading.Lock()

    def found(self) -> list[FoundCamera]:
        """Ask the networks; takes about a second.

        Raises:
            BusyError: If somebody else is asking.
            SourceError: If Aravis is not installed.
        """
        with self._alone():
            devices = aravis.devices()
        return [
            FoundCamera(
                SCHEME + quote(one.id), one.model, one.address, one.serial, self._user(one, devices)
            )
            for one in devices
        ]

    def tried(self, address: str) -> CameraTrial:
        """Open a camera as an address says, take a picture, and let it go.

        Raises:
            BusyError: If somebody else is asking.
            SourceError: If it is no `genicam://` address, a source of the station has the camera,
                or it refuses what the address says.
        """
        if not address.startswith(SCHEME):
            raise SourceError("only genicam:// addresses can be tried", fix=f"write {SCHEME}NAME")
        settings = parse_genicam(address)
        with self._alone():
            devices = aravis.devices()
            user = self._user(chosen(devices, settings.name), devices)
            if user is not None:
                raise SourceError(
                    f"the camera belongs to source {user!r}, and can be held by one at a time",
                    fix="look at that source, or stop the station",
                )
            return _tried(address, settings)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._looking.acquire(blocking=False):
            raise BusyError("somebody else is looking for cameras", fix="try again in seconds")
        try:
            yield
        finally:
            self._looking.release()

    def _user(self, device: aravis.Device, devices: list[aravis.Device]) -> str | None:
        """Return the source that has a camera."""
        for source in self._sources:
            if source.address.startswith(SCHEME):
                try:
                    if chosen(devices, parse_genicam(source.address).name) == device:
                        return source.name
                except SourceError:
                    continue
        return None


def _tried(address: str, settings: GenicamSettings) -> CameraTrial:
    began = time.monotonic()
    options = GrabberOptions(read_timeout=_PATIENCE)
    live = LiveSettings(stale_after=2 * _PATIENCE, give_up_after=_PATIENCE, grabber=options)
    source = LiveSource(address, address.partition("?")[0], live)
    try:
        fired = -1
        while time.monotonic() - began < 2 * _PATIENCE:
            if settings.by_software and fired < source.lost:  # the first, or the last was lost
                fired = source.fire()
            frame = source.newer_than(-1)
            if frame is not None:
                height, width = frame.image.shape[:2]
                ms = 1000 * (time.monotonic() - began)
                return CameraTrial(width, height, ms, "it gives pictures")
            if settings.triggered and not settings.by_software:
                return CameraTrial(
                    None, None, 1000 * (time.monotonic() - began),
                    f"it takes its settings, and waits for a signal on {settings.trigger}",
                )  # fmt: skip
            source.announce()  # raises what keeps pictures from coming
            time.sleep(0.01)
    finally:
        source.close()
    raise SourceError(
        f"no whole picture came; {source.lost} were lost on their way",
        fix="check cable and network; see packet_size in docs/reference/cameras.md",
    )
