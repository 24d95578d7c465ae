"""Probes and metrics, for whatever watches the station."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from vision_edge.station.http.api.answers import READING, failures
from vision_edge.station.http.api.routes import Operator, station_of
from vision_edge.station.http.api.status_models import Ready
from vision_edge.station.http.auth import SCHEMES

router = APIRouter(tags=["probes"])
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}, "example": "ok\n"}}}


@router.get(
    "/livez", response_class=Response, responses={200: _TEXT, **failures(400, 413, 421, 429)}
)
async def livez() -> Response:
    """Whether the process answers."""
    return Response("ok\n", media_type="text/plain")


@router.get(
    "/readyz",
    responses={503: {"model": Ready, "description": "Not ready."}, **failures(400, 413, 421, 429)},
)
def readyz(request: Request, response: Response) -> Ready:
    """Whether verdicts are given, as far as the sources bring frames."""
    ready = station_of(request).ready
    response.status_code = 200 if ready else 503
    return Ready(ready=ready)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=SCHEMES,
    responses={200: _TEXT, **failures(*READING, 413)},
)
def metrics(request: Request, _user: Operator) -> Response:
    """Counts and times, in Prometheus' text format."""
    text = station_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
