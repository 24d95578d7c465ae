"""The history: the latest verdicts with their pictures, and what a person says they show."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime

from vision_edge.station.core.verdict_history import HistoryQuery
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.routes import JPEG, Operator, noted, station_of
from vision_edge.station.http.api.shift_models import (
    CorrectAsked,
    CorrectedAnswer,
    KeptAnswer,
    KeptVerdict,
    RejectAsked,
)
from vision_edge.station.http.users import User

router = APIRouter(prefix="/kept", tags=["history"])
Identifier = Annotated[str, Path(pattern="^[0-9a-f]{24}$", examples=["01a20d60f29900006954fc3c"])]
Before = Annotated[str | None, Query(pattern="^[0-9a-f]{24}$", description="Older than that one.")]
When = Annotated[AwareDatetime | None, Query(examples=["2026-01-01T12:00:00Z"])]


@router.get("", responses=failures(*READING, 413))
def find(
    request: Request,
    _user: Operator,
    product: Annotated[
        str | None, Query(max_length=200, description="Said, put right to, or nearest.")
    ] = None,
    source: Annotated[str | None, Query(max_length=40)] = None,
    band: Annotated[Literal["accept", "review", "unknown"] | None, Query()] = None,
    since: When = None,
    until: When = None,
    before: Before = None,
    corrected: Annotated[bool | None, Query(description="Whether a person has decided.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
) -> KeptAnswer:
    """The latest verdicts that are kept with their pictures, newest first."""
    history = station_of(request).memory.history
    query = HistoryQuery(product, source, band, _text(since), _text(until), before, corrected)
    found = history.find(query, limit)
    count, held = history.size()
    return KeptAnswer.model_validate({"kept": count, "bytes": held, "verdicts": found})


@router.get(
    "/{identifier}.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 413)},
)
def picture(request: Request, identifier: Identifier, _user: Operator) -> Response:
    """What a verdict rests on: the part, or the frame."""
    return Response(station_of(request).memory.history.jpeg(identifier), media_type="image/jpeg")


@router.get("/{identifier}", responses=failures(*READING, 404, 413))
def kept_of(
    request: Request,
    identifier: Identifier,
    _user: Operator,
    source: Annotated[str, Query(max_length=40, description="Whose verdict it is.")],
) -> KeptVerdict:
    """What is kept of one verdict: itself, or the picture of the passage that it belongs to."""
    history = station_of(request).memory.history
    return KeptVerdict.model_validate(history.kept_of(source, identifier))


@router.post("/assign", responses=failures(*CHANGING, 404))
def assign(request: Request, asked: CorrectAsked, user: Operator) -> CorrectedAnswer:
    """These show that product, whatever was said of them: they become snapshots of it.

    Refused (`last_picture`, `removes`) if a product holds no other picture, until an engineer says
    `accept_removal`.
    """
    noted(request, ids=asked.ids, label=asked.label)
    station = station_of(request)
    history = station.memory.history
    made = station.registrar.assign(
        asked.ids, asked.label, user.name, among=history, accept_removal=_accepted(asked, user)
    )
    return CorrectedAnswer(version=made.version, pending=station.review.pending)


@router.post("/reject", responses=failures(*CHANGING, 404))
def reject(request: Request, asked: RejectAsked, user: Operator) -> CorrectedAnswer:
    """These show no product: what is like them will be unknown. `accept_removal` as above."""
    noted(request, ids=asked.ids)
    station = station_of(request)
    history = station.memory.history
    version = station.registrar.reject(
        asked.ids, user.name, among=history, accept_removal=_accepted(asked, user)
    )
    return CorrectedAnswer(version=version, pending=station.review.pending)


def _accepted(asked: RejectAsked, user: User) -> bool:
    """Whether products may go by a correction: an engineer has said so."""
    return asked.accept_removal and user.may("engineer")


def _text(when: datetime | None) -> str | None:
    """Return a time as records have it."""
    if when is None:
        return None
    return when.astimezone(timezone.utc).isoformat(timespec="milliseconds")
