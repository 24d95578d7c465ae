"""The station: the long-running service on an edge device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_edge.runtime.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from vision_edge.station.core.station import (
        Station,
    )
    from vision_edge.station.http.app import (
        create_app,
    )
    from vision_edge.station.server import (
        run_server,
    )
    from vision_edge.station.settings.station import (
        StationSettings,
    )
    from vision_edge.station.wires.payload import (
        OnlyNew,
    )

_HOMES = {
    "core.station": ("Station",),
    "http.app": ("create_app",),
    "server": ("run_server",),
    "settings.station": ("StationSettings",),
    "wires.payload": ("OnlyNew",),
}

__all__ = [
    "OnlyNew",
    "Station",
    "StationSettings",
    "create_app",
    "run_server",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
