"""Captures: uploads, and what speaks against registering one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, UploadFile

from vision_edge.station.core.captures import Crop
from vision_edge.station.http.admission import hold_pixels
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.capture_models import (
    CaptureAnswer,
    CheckAsked,
    ConcernsAnswer,
    CropModel,
)
from vision_edge.station.http.api.routes import JPEG, Operator, noted, station_of
from vision_edge.station.http.api.sources import captured
from vision_edge.station.http.api.uploads import decoded

router = APIRouter(prefix="/captures", tags=["captures"])
Identifier = Annotated[str, Path(pattern="^[0-9a-f]{24}$", examples=["5f0c3b1a9d2e4f60718293a4"])]


@router.post("", status_code=201, responses=failures(*CHANGING))
def upload(request: Request, image: UploadFile, _user: Operator) -> CaptureAnswer:
    """Keep an uploaded picture for a while, to be looked at and registered."""
    station = station_of(request)
    (picture,) = decoded(request, image)
    noted(request, deed=False, bytes=image.size)
    kept = station.captures.add(
        picture.image, picture.origin, upload=picture.data, reading=station.settings.reading
    )
    return captured(kept, station.captures)


@router.get(
    "/{identifier}.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 413)},
)
def picture(request: Request, identifier: Identifier, _user: Operator) -> Response:
    """A capture's picture."""
    capture = station_of(request).captures.get(identifier)
    return Response(capture.jpeg, media_type="image/jpeg")


@router.post("/{identifier}/check", responses=failures(*CHANGING, 404))
def check(
    request: Request, identifier: Identifier, asked: CheckAsked, _user: Operator
) -> ConcernsAnswer:
    """What speaks against registering a capture, or a part of it, as a product."""
    noted(request, deed=False)
    station = station_of(request)
    capture = station.captures.get(identifier)
    hold_pixels(request, capture.pixels)
    picture = capture.picture(crop_of(asked.crop), catalogue=asked.catalogue)
    concerns = station.registrar.check(picture, asked.label)
    return ConcernsAnswer.model_validate(concerns.document())


def crop_of(asked: CropModel | None) -> Crop | None:
    """Return the rectangle that was asked for."""
    return None if asked is None else Crop(asked.x, asked.y, asked.width, asked.height)
