"""What the cameras saw, kept to tell what is unknown: how much it is, and to forget it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from vision_edge.runtime.gallery.station_frames import MOST_FRAMES
from vision_edge.station.core.products import Products
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.models import Answer
from vision_edge.station.http.api.routes import Engineer, Operator, noted, station_of

router = APIRouter(prefix="/cohort", tags=["cohort"])


class CohortAnswer(Answer):
    """The frames that are kept: embeddings, no pictures."""

    collecting: bool = Field(description="Whether frames are collected and have a say.")
    frames: int = Field(examples=[187])
    most: int = Field(description="So many are kept at most.", examples=[256])
    stand_for: int = Field(
        description="Frames that they stand for: what is all but the same counts once.",
        examples=[4711],
    )
    since: str | None = Field(examples=["2026-01-01T12:00:00+00:00"])
    last: str | None = Field(examples=["2026-01-08T12:00:00+00:00"])


@router.get("", responses=failures(*READING, 409))
def cohort(request: Request, _user: Operator) -> CohortAnswer:
    """What is kept of what the cameras saw."""
    return _told(station_of(request).products)


@router.post("/clear", responses=failures(*CHANGING))
def clear(request: Request, _user: Engineer) -> CohortAnswer:
    """Forget what the cameras saw: after a move, another light or another line."""
    products = station_of(request).products
    forgotten = products.forget_frames()
    noted(request, deed=bool(forgotten), forgotten=forgotten)
    return _told(products)


def _told(products: Products) -> CohortAnswer:
    kept = products.seen_frames()
    return CohortAnswer(
        collecting=products.collecting,
        frames=len(kept.identifiers),
        most=MOST_FRAMES,
        stand_for=int(kept.times.sum()),
        since=kept.since,
        last=kept.last,
    )
