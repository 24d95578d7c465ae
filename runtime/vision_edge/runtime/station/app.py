"""The HTTP side of a station: a FastAPI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from vision_edge.runtime.station.service import Station
from vision_edge.runtime.station.sse import event_stream

PREFIX = "/api/v1"


def create_app(station: Station) -> FastAPI:
    """Return the application over a station, which its caller starts and closes."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=f"{PREFIX}/openapi.json")

    @app.get("/", include_in_schema=False)
    def root() -> PlainTextResponse:
        return PlainTextResponse(f"vision-edge station {station.name}\n{PREFIX}/openapi.json\n")

    @app.get("/livez")
    def livez() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        return JSONResponse({"ready": station.ready}, 200 if station.ready else 503)

    @app.get(f"{PREFIX}/status")
    def status() -> dict[str, Any]:
        return station.status()

    @app.get(f"{PREFIX}/verdicts")
    def verdicts(limit: int = 50, source: str | None = None) -> dict[str, Any]:
        return {"verdicts": station.records(limit, source)}

    @app.get(f"{PREFIX}/verdicts/stream")
    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(event_stream(station), media_type="text/event-stream")

    return app
