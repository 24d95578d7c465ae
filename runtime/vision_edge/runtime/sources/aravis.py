"""Aravis, the free library of GenICam cameras (GigE Vision, USB3 Vision), by its C interface.

Source: Aravis 0.8 (https://aravisproject.github.io/aravis), found as a shared library: Debian's
`libaravis-0.8-0` works from any virtual environment, where its GObject bindings do not.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

from vision_edge.runtime.errors import SourceError

LIBRARY = "libaravis-0.8.so.0"
SUCCESS = 0
"""Status of a buffer that holds a whole image."""

_LISTING = threading.Lock()
"""Of who reads the list of devices, which a second one would change under the first."""

_CAMERA_CALLS: dict[str, tuple[Any, ...]] = {
    "set_pixel_format_from_string": (c_char_p,),
    "set_region": (c_int, c_int, c_int, c_int),
    "set_exposure_time": (c_double,),
    "set_gain": (c_double,),
    "set_frame_rate": (c_double,),
    "gv_set_packet_size": (c_int,),
    "set_trigger": (c_char_p,),
    "clear_triggers": (),
    "software_trigger": (),
    "start_acquisition": (),
    "stop_acquisition": (),
    "get_payload": (),
    "get_frame_rate": (),
}
_RESULTS = {"get_payload": c_uint, "get_frame_rate": c_double}


class _Error(ctypes.Structure):
    """A GError."""

    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


@dataclass(frozen=True)
class Device:
    """A camera that answered.

    Attributes:
        id: Aravis's own name of it.
        address: IP address, or where it is plugged in.
        model: Maker and model.
        serial: Serial number.
    """

    id: str
    address: str
    model: str
    serial: str


@cache
def library() -> Any:
    """Return the library with its functions declared.

    Raises:
        SourceError: If it is not installed.
    """
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError:
        raise SourceError(
            f"genicam:// needs Aravis ({LIBRARY}), which is not installed",
            fix="sudo apt-get install libaravis-0.8-0",
        ) from None
    for name, arguments in _CAMERA_CALLS.items():
        _declare(found, f"camera_{name}", _RESULTS.get(name), c_void_p, *arguments, c_void_p)
    _declare(found, "camera_new", c_void_p, c_char_p, c_void_p)
    _declare(found, "camera_create_stream", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
    for name in ("device_id", "device_address", "device_model", "device_serial_nbr"):
        _declare(found, f"get_{name}", c_char_p, c_uint)
    _declare(found, "get_n_devices", c_uint)
    _declare(found, "buffer_new_allocate", c_void_p, c_size_t)
    _declare(found, "buffer_get_image_data", c_void_p, c_void_p, POINTER(c_size_t))
    for name in ("status", "image_width", "image_height"):
        _declare(found, f"buffer_get_{name}", c_int, c_void_p)
    _declare(found, "buffer_get_image_pixel_format", c_uint, c_void_p)
    for name in ("frame_id", "timestamp", "system_timestamp"):
        _declare(found, f"buffer_get_{name}", c_uint64, c_void_p)
    _declare(found, "stream_push_buffer", None, c_void_p, c_void_p)
    _declare(found, "stream_timeout_pop_buffer", c_void_p, c_void_p, c_uint64)
    found.g_object_unref.argtypes, found.g_object_unref.restype = [c_void_p], None
    found.g_error_free.argtypes, found.g_error_free.restype = [c_void_p], None
    return found


def _declare(found: Any, name: str, result: Any, *arguments: Any) -> None:
    function = getattr(found, f"arv_{name}")
    function.argtypes, function.restype = list(arguments), result


def devices() -> list[Device]:
    """Ask the networks and USB which cameras there are; takes about a second.

    Raises:
        SourceError: If Aravis is not installed.
    """
    arv = library()
    with _LISTING:
        return _listed(arv)


def _listed(arv: Any) -> list[Device]:
    arv.arv_update_device_list()

    def text(name: str, index: int) -> str:
        value = getattr(arv, f"arv_get_device_{name}")(index)
        return value.decode(errors="replace") if value else ""

    return [
        Device(*(text(name, index) for name in ("id", "address", "model", "serial_nbr")))
        for index in range(arv.arv_get_n_devices())
    ]


def call(what: str, function: Any, *arguments: Any) -> Any:
    """Call a function whose last argument is a GError.

    Args:
        what: What is being done, in words, for the error.
        function: Of the library.
        arguments: All but the last.

    Raises:
        SourceError: If it sets the error.
    """
    error = POINTER(_Error)()
    result = function(*arguments, byref(error))
    if error:
        message = (error.contents.message or b"").decode(errors="replace")
        library().g_error_free(error)
        raise SourceError(f"{what}: {message}", fix="see docs/reference/cameras.md")
    return result
