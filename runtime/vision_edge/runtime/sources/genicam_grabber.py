"""GenICam cameras: every frame by its number, with what was lost on the wire counted."""

from __future__ import annotations

import ctypes
import ipaddress
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.genicam_address import parse_genicam
from vision_edge.runtime.sources.genicam_numbers import PATIENCE, FrameNumbers
from vision_edge.runtime.sources.genicam_pixels import bgr_of
from vision_edge.runtime.sources.grabber import (
    WAITING,
    Grabbed,
    Grabber,
    GrabberOptions,
    Waiting,
)

BUFFERS = 16
"""Frames that the driver may hold before it must drop one; at 100 frames a second 160 ms."""

_LOOK = 0.25
"""Seconds after which a camera that sends nothing is asked whether it is still there."""


class GenicamGrabber(Grabber):
    """A camera of the GenICam standard, by Aravis.

    Args:
        address: `genicam://...`; see `parse_genicam`.
        name: What to call it in an error.
        options: How long to wait.

    Raises:
        SourceError: If Aravis is not installed, no such camera or several answer, or it refuses a
            setting.
    """

    def __init__(self, address: str, name: str, options: GrabberOptions) -> None:
        self._settings = parse_genicam(address)
        self._name, self._timeout = name, options.read_timeout
        self._arv = aravis.library()
        found = chosen(aravis.devices(), self._settings.name)
        self._camera = self._asked("opening it", "new", found.id.encode())
        self._stream: Any = None
        self.every_frame = self._settings.triggered
        self._numbers = FrameNumbers(PATIENCE + (self._settings.exposure_us or 0.0) / 1e6)
        self._control = threading.Lock()  # of who fires against who closes
        try:
            self._configure()
            self.fps = self._rate()
            self._start()
        except BaseException:
            self.close()
            raise

    def grab(self) -> Grabbed | Waiting | None:
        """Wait for the next whole frame; `WAITING` while a triggered camera has no signal."""
        until = time.monotonic() + self._timeout
        while time.monotonic() < until:
            buffer = self._arv.arv_stream_timeout_pop_buffer(self._stream, int(1e6 * _LOOK))
            if buffer:
                try:
                    grabbed = self._taken(buffer)
                finally:
                    self._arv.arv_stream_push_buffer(self._stream, buffer)
                if grabbed is not None:
                    return grabbed
            elif not self._answers():
                return None
            if self.every_frame:
                self._numbers.overdue()
                return WAITING
        return None

    @property
    def lost(self) -> int:  # type: ignore[override]
        """Frames that the camera took and that did not arrive."""
        return self._numbers.lost

    @property
    def fired(self) -> int:  # type: ignore[override]
        """Software triggers that were sent."""
        return self._numbers.fired

    def fire(self) -> int:
        """Send a software trigger; return the number of the frame that answers it.

        Waits for the frame of the trigger before; if that does not come, for two seconds and the
        exposure.

        Raises:
            SourceError: If the camera does not take it, or is gone; `trigger=Software` must be in
                the address.
        """
        if not self._settings.by_software:
            raise SourceError(
                f"camera {self._name!r} waits for no software trigger "
                f"(trigger={self._settings.trigger or 'off'})",
                fix="write trigger=Software in its address",
            )
        with self._control:
            if not self._camera:
                raise SourceError(f"camera {self._name!r} is not connected", fix="wait for it")
            number = self._numbers.fire()
            try:
                self._asked("a software trigger", "software_trigger", self._camera)
            except SourceError:
                self._numbers.taken_back()
                raise
            return number

    def close(self) -> None:
        """Stop the camera and let it go; triggers that wait for their frames have lost them."""
        with self._control:
            if self._camera and self._stream:
                with suppress(SourceError):  # it may be gone
                    self._asked("stopping", "stop_acquisition", self._camera)
            for owned in (self._stream, self._camera):
                if owned:
                    self._arv.g_object_unref(owned)
            self._stream = self._camera = None
            self._numbers.over()

    def _configure(self) -> None:
        told, camera = self._settings, self._camera
        if told.pixel_format is not None:
            self._set("pixel_format", "set_pixel_format_from_string", told.pixel_format.encode())
        if told.region is not None:
            self._set("region", "set_region", *told.region)
        if told.fps is not None:
            self._set("fps", "set_frame_rate", told.fps)
        if told.exposure_us is not None:
            self._set("exposure_us", "set_exposure_time", told.exposure_us)
        if told.gain is not None:
            self._set("gain", "set_gain", told.gain)
        if told.packet_size is not None:
            self._set("packet_size", "gv_set_packet_size", told.packet_size)
        if told.triggered:
            assert told.trigger is not None
            self._set("trigger", "set_trigger", told.trigger.encode())
        elif told.trigger == "off":
            self._asked("trigger", "clear_triggers", camera)

    def _start(self) -> None:
        size = self._asked("asking for a frame's size", "get_payload", self._camera)
        self._stream = self._asked("opening its stream", "create_stream", self._camera, None, None)
        for _ in range(BUFFERS):
            self._arv.arv_stream_push_buffer(self._stream, self._arv.arv_buffer_new_allocate(size))
        self._asked("starting", "start_acquisition", self._camera)

    def _rate(self) -> float | None:
        if self.every_frame:
            return None
        try:
            rate = float(self._asked("asking for its rate", "get_frame_rate", self._camera))
        except SourceError:
            return None
        return rate if 0 < rate < 10_000 else None

    def _taken(self, buffer: Any) -> Grabbed | None:
        """Return a buffer's frame; one that did not arrive whole is counted and gives None."""
        arv, now = self._arv, time.monotonic()
        if arv.arv_buffer_get_status(buffer) != aravis.SUCCESS:
            self._numbers.torn()
            return None
        number = self._numbers.whole(int(arv.arv_buffer_get_frame_id(buffer)))
        if number is None:
            return None
        size = ctypes.c_size_t()
        data = arv.arv_buffer_get_image_data(buffer, ctypes.byref(size))
        view = np.ctypeslib.as_array((ctypes.c_uint8 * size.value).from_address(data))
        image = bgr_of(
            view,
            arv.arv_buffer_get_image_width(buffer),
            arv.arv_buffer_get_image_height(buffer),
            arv.arv_buffer_get_image_pixel_format(buffer),
        )
        if np.may_share_memory(image, view):
            image = image.copy()
        waited = (time.time_ns() - int(arv.arv_buffer_get_system_timestamp(buffer))) / 1e9
        captured = now - waited if 0 <= waited < self._timeout else now
        stamp = int(arv.arv_buffer_get_timestamp(buffer)) / 1e9
        return Grabbed(image, stamp or None, number=number, captured=captured)

    def _answers(self) -> bool:
        """Whether the camera still answers."""
        try:
            self._asked("asking whether it is there", "get_payload", self._camera)
        except SourceError:
            return False
        return True

    def _set(self, key: str, function: str, *arguments: Any) -> None:
        self._asked(f"setting {key}", function, self._camera, *arguments)

    def _asked(self, what: str, function: str, *arguments: Any) -> Any:
        return aravis.call(
            f"camera {self._name!r}: {what}",
            getattr(self._arv, f"arv_camera_{function}"),
            *arguments,
        )


def chosen(found: list[aravis.Device], name: str) -> aravis.Device:
    """Return the camera that a name means.

    Of cameras of one maker, model and serial number Aravis lists one; so an IP address is asked
    also where it is not listed.

    Args:
        found: All that answered.
        name: Id, serial number, address or model; empty: the only one.

    Raises:
        SourceError: If none or several are meant.
    """
    fitting = [
        device
        for device in found
        if not name or name in (device.id, device.serial, device.address, device.model)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and _is_address(name):
        return aravis.Device(name, name, "", "")
    listed = ", ".join(f"{d.id} ({d.address})" for d in fitting or found) or "none"
    if not fitting:
        raise SourceError(
            f"no GenICam camera {name!r} answers; those that do: {listed}".replace(" ''", ""),
            fix="check power, cable, that its address lies in this network, and that no other "
            "program holds it",
        )
    raise SourceError(
        f"{len(fitting)} GenICam cameras answer to {name!r}: {listed}",
        fix="give the id or address of one: genicam://ID",
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
