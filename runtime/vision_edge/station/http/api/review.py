"""The review queue: what was unknown or doubtful, and what a person decides on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.product_models import (
    AssignAsked,
    DecidedAnswer,
    IdsAsked,
    ReviewAnswer,
)
from vision_edge.station.http.api.routes import JPEG, Operator, noted, station_of

router = APIRouter(prefix="/review", tags=["review"])
Identifier = Annotated[str, Path(pattern="^[0-9a-f]{24}$", examples=["01a20d60f29900006954fc3c"])]


@router.get("", responses=failures(*READING, 413))
def items(
    request: Request, _user: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> ReviewAnswer:
    """What waits for a person, newest first."""
    review = station_of(request).review
    return ReviewAnswer.model_validate({"pending": review.pending, "items": review.items(limit)})


@router.get(
    "/{identifier}.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 413)},
)
def picture(request: Request, identifier: Identifier, _user: Operator) -> Response:
    """A picture that waits."""
    return Response(station_of(request).review.jpeg(identifier), media_type="image/jpeg")


@router.post("/assign", responses=failures(*CHANGING, 404))
def assign(request: Request, asked: AssignAsked, user: Operator) -> DecidedAnswer:
    """These show that product: they become snapshots of it."""
    noted(request, ids=asked.ids, label=asked.label)
    station = station_of(request)
    version = station.registrar.assign(asked.ids, asked.label, user.name).version
    return DecidedAnswer(pending=station.review.pending, version=version)


@router.post("/reject", responses=failures(*CHANGING, 404))
def reject(request: Request, asked: IdsAsked, user: Operator) -> DecidedAnswer:
    """These are no product: what is like them will be unknown."""
    noted(request, ids=asked.ids)
    station = station_of(request)
    version = station.registrar.reject(asked.ids, user.name)
    return DecidedAnswer(pending=station.review.pending, version=version)


@router.post("/dismiss", responses=failures(*CHANGING))
def dismiss(request: Request, asked: IdsAsked, _user: Operator) -> DecidedAnswer:
    """Nothing is to be learned from these; those that are gone already do not matter."""
    station = station_of(request)
    gone = station.review.remove(asked.ids, forget=False)
    noted(request, deed=bool(gone), ids=gone, unknown=len(asked.ids) - len(gone))
    return DecidedAnswer(pending=station.review.pending, version=station.products.version)
