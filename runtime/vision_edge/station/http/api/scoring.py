"""How good the station is: the check of its gallery, validation, and the asked rate of strangers.

Each is computed in a thread of the server when somebody asks; the gallery's own pictures once for
each state of it, and one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from pydantic import Field

from vision_edge.runtime.gallery.labels import MAX_LABEL
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.recognition.gallery_check import check_document
from vision_edge.runtime.recognition.validation import Tried, Validation, validation_document
from vision_edge.station.core.appraisal import Judged, Said
from vision_edge.station.core.errors import NothingToJudgeError
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.products import MAX_FILES
from vision_edge.station.http.api.routes import Engineer, Operator, noted, station_of
from vision_edge.station.http.api.scoring_models import (
    CheckAnswer,
    Rate,
    RateAsked,
    RateEffect,
    ValidationAnswer,
)
from vision_edge.station.http.api.status_models import ScoringStatus
from vision_edge.station.http.api.uploads import decoded
from vision_edge.station.http.request_error import RequestError

router = APIRouter(tags=["scoring"])
MOST_FLIPS, MOST_TRIED = 100, 1000


@router.get("/check", responses=failures(*READING, 409, 413))
def check(request: Request, _user: Operator) -> CheckAnswer:
    """What the registered snapshots say of the gallery: shares, confusions, odd pictures."""
    scoring = station_of(request).scoring
    found = scoring.appraisal()
    told = check_document(found.check.at(scoring.asked.now.rate), found.identifiers)
    return CheckAnswer.model_validate({"version": found.version, **told})


@router.get("/scoring", responses=failures(*READING, 409, 413))
def effect(
    request: Request, _user: Operator, false_accept_rate: Annotated[Rate, Query()]
) -> RateEffect:
    """What another share of strangers would change, on the station's own pictures."""
    scoring = station_of(request).scoring
    found, now = scoring.appraisal(), scoring.asked.now.rate
    flips = [_flip(*row) for row in found.flips(now, false_accept_rate)]
    return RateEffect.model_validate(
        {
            "pictures": len(found.judged),
            "reviewed": sum(one.reviewed for one in found.judged),
            "now": found.counts(now),
            "then": found.counts(false_accept_rate),
            "flips": flips[:MOST_FLIPS],
            "more_flips": max(0, len(flips) - MOST_FLIPS),
        }
    )


@router.post("/scoring", responses=failures(*CHANGING))
def ask(request: Request, asked: RateAsked, user: Engineer) -> ScoringStatus:
    """Let another share of strangers pass for a product, from the next verdict on."""
    scoring = station_of(request).scoring
    noted(request, false_accept_rate=asked.false_accept_rate, before=scoring.asked.now.rate)
    scoring.set(asked.false_accept_rate, user.name)
    return ScoringStatus(**scoring.asked.document())


@router.post("/scoring/undo", responses=failures(*CHANGING))
def undo(request: Request, user: Engineer) -> ScoringStatus:
    """Return to the share of strangers before."""
    scoring = station_of(request).scoring
    before = scoring.asked.now.rate
    scoring.undo(user.name)
    noted(request, false_accept_rate=scoring.asked.now.rate, before=before)
    return ScoringStatus(**scoring.asked.document())


@router.get("/validation", responses=failures(*READING, 409, 413))
def own_pictures(
    request: Request,
    _user: Operator,
    reviewed: Annotated[bool, Query(description="Only those decided on in the review.")] = False,
) -> ValidationAnswer:
    """The station's own pictures, each left out and judged by the others."""
    scoring = station_of(request).scoring
    found = scoring.appraisal()
    done = found.validation(scoring.asked.now.rate, reviewed=reviewed)
    if not done.tried:
        raise NothingToJudgeError(
            "nobody has decided on a picture in the review yet"
            if reviewed
            else "every product has one snapshot only, so that none can be left out",
            fix="decide on pictures under Review, or add snapshots",
        )
    return _answer(done, found.version, found.identifiers)


@router.post("/validation", responses=failures(*CHANGING))
def uploaded(
    request: Request,
    images: Annotated[list[UploadFile], File(min_length=1, max_length=MAX_FILES)],
    shows: Annotated[
        list[Annotated[str, Field(max_length=MAX_LABEL)]],
        Form(description="Of each picture the product that it shows; empty: a stranger."),
    ],
    _user: Operator,
) -> ValidationAnswer:
    """Labelled pictures, judged by the products as they are now; nothing of them is kept."""
    noted(request, deed=False, pictures=len(images))
    if len(shows) != len(images):
        raise RequestError(
            422, "invalid", f"{len(images)} picture(s) and {len(shows)} label(s)",
            "say of each picture what it shows",
        )  # fmt: skip
    station = station_of(request)
    pictures = decoded(request, *images)
    with station.products.steady() as model:
        classifier, version = model.classifier, station.products.version
    if classifier is None:
        raise NothingToJudgeError("no product is registered", fix="register one first")
    tried = []
    for picture, label in zip(pictures, shows, strict=True):
        (decision,) = classifier.classify(embed_frame(model, picture.image))
        truth = label.strip() if label.strip() in classifier.labels else None
        tried.append(Tried(picture.origin, truth, decision))
    done = Validation(tuple(tried), classifier.false_accept_rate)
    strange = {label.strip() for label in shows} - set(classifier.labels) - {""}
    notes = [
        f"{label!r} is not registered: its pictures are strangers" for label in sorted(strange)
    ]
    return _answer(done, version, classifier.labels, notes)


def _answer(
    done: Validation, version: int, labels: Iterable[str], notes: Sequence[str] = ()
) -> ValidationAnswer:
    told = validation_document(done)
    shown = {one.truth for one in done.products}
    missing = [label for label in labels if label not in shown]
    more = []
    if missing:
        more.append("no pictures of " + ", ".join(map(repr, missing[:10])))
    if not done.strangers:
        more.append("no pictures of strangers: what gets in is not shown")
    return ValidationAnswer.model_validate(
        {
            "version": version,
            "false_accept_rate": done.false_accept_rate,
            "pictures": len(done.products),
            "strangers": len(done.strangers),
            "notes": [*notes, *more],
            "shares": asdict(done.shares),
            "answers": told["answers"],
            "rates": told["rates"],
            "tried": [_tried(one) for one in done.tried[:MOST_TRIED]],
        }
    )


def _tried(one: Tried) -> dict[str, object]:
    return {
        "name": one.name,
        "shows": one.truth,
        "said": one.decision.label,
        "nearest": one.decision.nearest,
        "rate": one.decision.stranger_rate,
    }


def _flip(one: Judged, now: Said, then: Said) -> dict[str, object]:
    return {
        "snapshot": one.snapshot,
        "product": one.product,
        "nearest": one.nearest,
        "reviewed": one.reviewed,
        "now": now,
        "then": then,
    }
