"""The bundle over HTTP: try a new one, take it, and go back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field, model_validator

from vision_edge.station.core.station import Station
from vision_edge.station.fleet.bundles.update import BundleUpdate
from vision_edge.station.fleet.host import updates_of
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.models import Answer, Asked
from vision_edge.station.http.api.routes import Engineer, Operator, noted

Reference = Annotated[str, Field(min_length=1, max_length=1000)]


class BundleAsked(Asked):
    """A new bundle: a path in the folder `bundle_from`, or an address under it; one of both."""

    path: Reference | None = Field(None, examples=["spring.zip"])
    url: Reference | None = Field(None, examples=["https://models.plant.example/spring.zip"])
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the archive; without it, the file `ARCHIVE.sha256` says it."
    )
    dry_run: bool = Field(False, description="Only try it.")
    allow_older: bool = Field(
        False, description="Take a signed bundle that is older than what was taken here."
    )

    @model_validator(mode="after")
    def _one(self) -> BundleAsked:
        if (self.path is None) == (self.url is None):
            raise ValueError("give path or url, one of both")
        return self


class UpdateAnswer(Answer):
    """How the last update goes, or went."""

    state: Literal[
        "idle", "fetching", "trying", "switching", "switched", "accepted", "refused", "failed"
    ]
    reference: str = Field(examples=["spring.zip"])
    error: str | None = Field(description="Why it failed.", examples=[None])
    report: dict[str, Any] | None = Field(description="What the trial found.", examples=[None])
    text: str | None = Field(description="The same in a few lines.", examples=[None])


def fleet_router(station: Station) -> APIRouter:
    """Return the routes over a station's bundle."""
    router = APIRouter(tags=["bundle"])
    updates: BundleUpdate = updates_of(station)

    @router.get("/bundle", responses=failures(*READING))
    def bundle(_user: Operator) -> UpdateAnswer:
        """How the last update goes, or went."""
        return UpdateAnswer.model_validate(updates.document())

    @router.post("/bundle", status_code=202, responses=failures(*CHANGING))
    def update(request: Request, asked: BundleAsked, user: Engineer) -> UpdateAnswer:
        """Fetch a bundle, try it in shadow, and go over to it if it is good enough."""
        reference = asked.path or asked.url or ""
        older = asked.allow_older
        noted(request, reference=reference, dry_run=asked.dry_run, allow_older=older)
        updates.start(
            reference,
            sha256=asked.sha256,
            dry_run=asked.dry_run,
            author=user.name,
            allow_older=older,
        )
        return UpdateAnswer.model_validate(updates.document())

    @router.post("/bundle/undo", responses=failures(*CHANGING))
    def undo(request: Request, user: Engineer) -> UpdateAnswer:
        """Return to the bundle before the last switch."""
        noted(request)
        updates.undo(user.name)
        return UpdateAnswer.model_validate(updates.document())

    return router
