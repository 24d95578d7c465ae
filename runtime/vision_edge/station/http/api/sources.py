"""Sources: their pictures, a verdict on command, and a picture frozen to be registered."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from vision_edge.runtime.pipeline.burst import SLOTS
from vision_edge.station.core.captures import Capture, Captures
from vision_edge.station.http.admission import hold_frames
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.capture_models import BurstAsked, CaptureAnswer, CropAnswer
from vision_edge.station.http.api.models import Done
from vision_edge.station.http.api.routes import JPEG, Operator, noted, station_of
from vision_edge.station.http.api.status_models import (
    AskedAnswer,
    CameraAnswer,
    ExpectAsked,
    Expected,
    Triggered,
)
from vision_edge.station.http.camera_checks import CameraChecks
from vision_edge.station.http.preview import BOUNDARY, MAX_FPS, Previews, frame_headers, offered
from vision_edge.station.http.request_error import RequestError
from vision_edge.station.http.streams import Streams

router = APIRouter(prefix="/sources/{name}", tags=["sources"])
Name = Annotated[str, Path(max_length=40, examples=["camera"])]
Width = Annotated[int, Query(ge=32, le=1920, description="Pixels; the next width offered.")]
_MJPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JPEG pictures as they come, each with `X-Frame-Number` and its age.",
        "content": {
            f"multipart/x-mixed-replace; boundary={BOUNDARY}": {
                "schema": {"type": "string", "format": "binary"}
            }
        },
    }
}


@router.post("/trigger", responses=failures(*CHANGING, 404))
def trigger(request: Request, name: Name, _user: Operator) -> Triggered:
    """Judge a part now; for sources whose trigger is `command`."""
    noted(request, deed=False, source=name)
    return Triggered(trigger=station_of(request).line(name).trigger().trigger)


@router.post("/expect", responses=failures(*CHANGING, 404))
def expect(request: Request, name: Name, asked: ExpectAsked, user: Operator) -> Expected:
    """Have the source show a product from now on: verdicts say right, wrong or unsure."""
    noted(request, source=name, product=asked.product)
    station = station_of(request)
    return Expected(**station.expect(name, asked.product, user.name).document())


@router.post("/ask", responses=failures(*CHANGING, 404))
def ask(request: Request, name: Name, _user: Operator) -> AskedAnswer:
    """Judge a part now, and wait for the answer; for sources whose trigger is `command`."""
    noted(request, deed=False, source=name)
    answer = station_of(request).ask(name)
    return AskedAnswer(
        answer=answer.word, ms=round(1000 * answer.seconds, 1), verdict=answer.record
    )


@router.post("/acknowledge", responses=failures(*CHANGING, 404))
def acknowledge(request: Request, name: Name, _user: Operator) -> Done:
    """Take the scene of now for the right one: what has changed is to stay so."""
    noted(request, source=name)
    station_of(request).acknowledge(name)
    return Done()


@router.post("/freeze", status_code=201, responses=failures(*CHANGING, 404))
def freeze(request: Request, name: Name, _user: Operator) -> CaptureAnswer:
    """Keep the latest frame for a while, to be looked at and registered."""
    noted(request, deed=False, source=name)
    station = station_of(request)
    return captured(station.freeze(name), station.captures)


@router.post("/burst", status_code=201, responses=failures(*CHANGING, 404, 409))
def burst(request: Request, name: Name, asked: BurstAsked, _user: Operator) -> CaptureAnswer:
    """Keep sharp, different views of a part that is turned before it; takes its seconds."""
    noted(request, deed=False, source=name, seconds=asked.seconds)
    station = station_of(request)
    frame = station.line(name).latest
    hold_frames(
        request, 0 if frame is None else SLOTS * frame.image.shape[0] * frame.image.shape[1]
    )
    return captured(station.burst(name, asked.seconds), station.captures)


@router.get("/camera", responses=failures(*READING, 404, 409))
def camera(request: Request, name: Name, _user: Operator) -> CameraAnswer:
    """What the latest frames tell of the camera; ask some times a second while setting it up."""
    checks: CameraChecks = request.app.state.camera_checks
    return CameraAnswer.model_validate(checks.report(station_of(request).line(name)).document())


@router.get(
    "/frame.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 409, 413)},
)
async def frame(request: Request, name: Name, _user: Operator, width: Width = 1920) -> Response:
    """The latest frame, with `X-Frame-Number` and `X-Frame-Age-Ms`."""
    previews: Previews = request.app.state.previews
    encoded = await previews.latest(station_of(request).line(name), offered(width))
    if encoded is None:
        raise RequestError(409, "no_frame", f"source {name!r} has shown nothing yet", "wait for it")
    return Response(encoded.jpeg, headers=frame_headers(encoded), media_type="image/jpeg")


@router.get(
    "/preview.mjpeg",
    response_class=StreamingResponse,
    responses={**_MJPEG, **failures(*READING, 404, 413)},
)
async def preview(
    request: Request,
    name: Name,
    _user: Operator,
    fps: Annotated[float, Query(ge=0.1, le=MAX_FPS)] = 5.0,
    width: Width = 640,
) -> StreamingResponse:
    """The source's pictures as they come; each is encoded once for all who look."""
    station = station_of(request)
    line = station.line(name)
    previews: Previews = request.app.state.previews
    streams: Streams = request.app.state.streams
    parts = previews.stream(line, offered(width), fps, lambda: station.hub.closed)
    return streams.answer(parts, f"multipart/x-mixed-replace; boundary={BOUNDARY}", request)


def captured(capture: Capture, captures: Captures) -> CaptureAnswer:
    """Return what is said of a new capture."""
    width, height = capture.size
    part = capture.part()
    return CaptureAnswer(
        capture=capture.id,
        width=width,
        height=height,
        expires_s=captures.seconds,
        crop=None if part is None else CropAnswer(**vars(part)),
        parts=[CropAnswer(**vars(one)) for one in capture.parts()],
        pictures=1 + len(capture.others),
    )
