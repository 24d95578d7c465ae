"""What every route module uses: the station of a request, and who may call."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request

from vision_edge.station.core.station import Station
from vision_edge.station.http.auth import allowed
from vision_edge.station.http.users import User

Operator = Annotated[User, allowed("operator")]
Engineer = Annotated[User, allowed("engineer")]
JPEG: dict[str, Any] = {
    "description": "The picture.",
    "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
}


def station_of(request: Request) -> Station:
    """Return the station that a request is for."""
    station: Station = request.app.state.station
    return station


def noted(request: Request, *, deed: bool = True, **details: Any) -> None:
    """Add details to the request's line in the audit log: JSON values, never a secret.

    Args:
        request: The request.
        deed: Whether it changes something that is evidence, if it is granted.
        details: What is added.
    """
    request.state.audit = details
    request.state.deed = deed
