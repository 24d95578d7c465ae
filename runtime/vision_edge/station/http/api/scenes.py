"""A source's scene: its region of interest, the picture of it empty, and what is in view now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from vision_edge.station.core.source_line import Line
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.capture_models import RoiAsked, SceneAnswer
from vision_edge.station.http.api.routes import JPEG, Engineer, Operator, noted, station_of
from vision_edge.station.http.api.verdict_models import PartsInView
from vision_edge.station.http.preview import frame_jpeg
from vision_edge.station.http.request_error import RequestError

router = APIRouter(prefix="/sources/{name}", tags=["scenes"])
Name = Annotated[str, Path(max_length=40, examples=["camera"])]


@router.get("/parts", responses=failures(*READING, 404))
def parts(request: Request, name: Name, _user: Operator) -> PartsInView:
    """The parts in its latest frame: where, and what, as far as that is known."""
    return PartsInView.model_validate(station_of(request).line(name).views.latest)


@router.get("/scene", responses=failures(*READING, 404))
def scene(request: Request, name: Name, _user: Operator) -> SceneAnswer:
    """Its region of interest and its empty picture, and whether page or settings say so."""
    return _answer(station_of(request).line(name))


@router.get(
    "/whole.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 409, 413)},
)
def whole(request: Request, name: Name, _user: Operator) -> Response:
    """Its latest frame, upright and before its region of interest is cut out."""
    frame = station_of(request).line(name).whole
    if frame is None:
        raise RequestError(409, "no_frame", f"source {name!r} has shown nothing yet", "wait for it")
    return Response(frame_jpeg(frame.image), media_type="image/jpeg")


@router.post("/scene/roi", responses=failures(*CHANGING, 404))
def roi(request: Request, name: Name, asked: RoiAsked, _user: Engineer) -> SceneAnswer:
    """Set its region of interest, against the settings; null returns to theirs."""
    crop = asked.roi
    region = None if crop is None else (crop.x, crop.y, crop.width, crop.height)
    noted(request, source=name, roi=None if region is None else list(region))
    station = station_of(request)
    station.set_roi(name, region)
    return _answer(station.line(name))


@router.post("/scene/empty", responses=failures(*CHANGING, 404))
def take_empty(request: Request, name: Name, user: Operator) -> SceneAnswer:
    """Take its latest frame as the picture of its scene empty, against the settings."""
    noted(request, source=name)
    station = station_of(request)
    station.take_empty(name, user.name)
    return _answer(station.line(name))


@router.post("/scene/empty/forget", responses=failures(*CHANGING, 404))
def forget_empty(request: Request, name: Name, _user: Operator) -> SceneAnswer:
    """Return to the settings' picture of its scene empty."""
    noted(request, source=name)
    line = station_of(request).line(name)
    line.scene.forget_empty()
    return _answer(line)


def _answer(line: Line) -> SceneAnswer:
    size = None if line.whole is None else list(line.whole.image.shape[1::-1])
    return SceneAnswer.model_validate({**line.scene.document(), "size": size})
