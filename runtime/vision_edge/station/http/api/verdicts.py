"""Status and verdicts, once or as they come."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from vision_edge.station.http.api.answers import READING, failures
from vision_edge.station.http.api.routes import Operator, station_of
from vision_edge.station.http.api.status_models import Status
from vision_edge.station.http.api.verdict_models import Verdicts
from vision_edge.station.http.sse import event_stream
from vision_edge.station.http.streams import Streams

router = APIRouter(tags=["verdicts"])
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `verdict`, `parts` in view, `state`, `view`, `gallery`, `review`, "
        "`counts`, as they happen.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 01a20d60f299\nevent: verdict\ndata: {"label": "bolt M8"}\n\n',
            }
        },
    }
}


@router.get("/status", responses=failures(*READING, 413))
def status(request: Request, _user: Operator) -> Status:
    """How the station is: sources, model, wires, gallery, review."""
    return Status.model_validate(station_of(request).status())


@router.get("/verdicts", response_model_exclude_unset=True, responses=failures(*READING, 404, 413))
def verdicts(
    request: Request,
    _user: Operator,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    source: Annotated[str | None, Query(max_length=40)] = None,
) -> Verdicts:
    """The latest verdicts, newest first; of one source, or of all."""
    station = station_of(request)
    if source is not None:
        station.line(source)
    return Verdicts.model_validate({"verdicts": station.records(limit, source)})


@router.get(
    "/verdicts/stream",
    response_class=StreamingResponse,
    responses={**_STREAM, **failures(*READING, 413)},
)
async def stream(
    request: Request,
    _user: Operator,
    last_event_id: Annotated[str, Header(max_length=40, description="Then what was missed.")] = "",
) -> StreamingResponse:
    """What happens from now on, as server-sent events."""
    streams: Streams = request.app.state.streams
    events = event_stream(station_of(request), last_event_id)
    no_proxy_collects = {"X-Accel-Buffering": "no"}
    return streams.answer(events, "text/event-stream", request, no_proxy_collects)
