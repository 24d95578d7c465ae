"""Products: registering, renaming, removing; snapshots; history and the way back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile

from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.quality import inspect_picture
from vision_edge.runtime.pipeline.registration import Picture, catalogue_picture
from vision_edge.station.core.registrar import Registered
from vision_edge.station.http.admission import hold_pixels
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.capture_models import (
    RegisterAsked,
    RegisteredAnswer,
    WarningsAnswer,
)
from vision_edge.station.http.api.captures import crop_of
from vision_edge.station.http.api.models import Label
from vision_edge.station.http.api.product_models import (
    History,
    LabelAsked,
    ProductsAnswer,
    RenameAsked,
    RollbackAsked,
    VersionAnswer,
)
from vision_edge.station.http.api.routes import JPEG, Engineer, Operator, noted, station_of
from vision_edge.station.http.api.uploads import Upload, decoded
from vision_edge.station.http.request_error import RequestError

router = APIRouter(tags=["products"])
Identifier = Annotated[int, Path(ge=1, le=2**53, examples=[17])]
MAX_FILES = 20
_GONE = "it may have been removed or renamed meanwhile: look at the products anew"
_REGISTER: dict[int | str, dict[str, Any]] = {
    **failures(*CHANGING, 404),
    409: {"model": WarningsAnswer, "description": "Warnings were not accepted, or it is refused."},
}


@router.get("/products", responses=failures(*READING, 409, 413))
def products(request: Request, _user: Operator) -> ProductsAnswer:
    """All registered products and their snapshots."""
    station = station_of(request)
    code = station.codes.code if station.codes else lambda label: None
    version, state = station.products.listed()
    listed = [
        {"label": label, "snapshots": ids, "code": code(label)} for label, ids in state.items()
    ]
    return ProductsAnswer.model_validate({"version": version, "products": listed})


@router.post("/products", status_code=201, responses=_REGISTER)
def register(request: Request, asked: RegisterAsked, user: Operator) -> RegisteredAnswer:
    """Register a capture, or a part of it, as a product: with all its views after a burst."""
    station = station_of(request)
    noted(
        request,
        label=asked.label, accept_warnings=asked.accept_warnings, catalogue=asked.catalogue,
    )  # fmt: skip
    capture = station.captures.get(asked.capture)
    hold_pixels(request, capture.pixels)
    pictures = capture.pictures(crop_of(asked.crop), catalogue=asked.catalogue)
    registered = station.registrar.register(
        asked.label, pictures, user.name, accept_warnings=asked.accept_warnings
    )
    return _answer(request, registered)


@router.post("/products/upload", status_code=201, responses=_REGISTER)
def upload(
    request: Request,
    label: Annotated[Label, Form()],
    images: Annotated[list[UploadFile], File(min_length=1, max_length=MAX_FILES)],
    user: Operator,
    accept_warnings: Annotated[bool, Form()] = False,
    catalogue: Annotated[
        bool, Form(description="Whether they show the product alone, on white.")
    ] = False,
) -> RegisteredAnswer:
    """Register uploaded pictures as a product: all of them, or none."""
    station = station_of(request)
    noted(request, label=label, accept_warnings=accept_warnings, catalogue=catalogue)
    pictures = [_picture(one, catalogue=catalogue) for one in decoded(request, *images)]
    registered = station.registrar.register(
        label, pictures, user.name, accept_warnings=accept_warnings
    )
    return _answer(request, registered)


@router.post("/products/rename", responses=failures(*CHANGING, 404))
def rename(request: Request, asked: RenameAsked, user: Operator) -> VersionAnswer:
    """Give a product another name."""
    noted(request, label=asked.label, new=asked.new)
    with station_of(request).gallery(user.name) as gallery:
        _known(gallery, asked.label)
        return VersionAnswer(version=gallery.rename(asked.label, asked.new))


@router.post("/products/remove", responses=failures(*CHANGING, 404))
def remove(request: Request, asked: LabelAsked, user: Engineer) -> VersionAnswer:
    """Remove a product; its history stays."""
    noted(request, label=asked.label)
    with station_of(request).gallery(user.name) as gallery:
        _known(gallery, asked.label)
        return VersionAnswer(version=gallery.remove(asked.label))


@router.get(
    "/snapshots/{identifier}.jpg",
    response_class=Response,
    responses={200: JPEG, **failures(*READING, 404, 409, 413)},
)
def snapshot(request: Request, identifier: Identifier, _user: Operator) -> Response:
    """A snapshot, as it was registered."""
    with station_of(request).products.looked_at() as gallery:
        if identifier not in {event.snapshot for event in gallery.events()}:
            raise _no_snapshot(identifier)
        return Response(gallery.snapshots.jpeg(identifier), media_type="image/jpeg")


@router.post("/snapshots/{identifier}/drop", responses=failures(*CHANGING, 404))
def drop(request: Request, identifier: Identifier, user: Engineer) -> VersionAnswer:
    """Take one snapshot out of its product."""
    noted(request, snapshot=identifier)
    with station_of(request).gallery(user.name) as gallery:
        if identifier not in gallery.contents().places():
            raise _no_snapshot(identifier)
        return VersionAnswer(version=gallery.drop(identifier))


@router.get("/history", responses=failures(*READING, 409, 413))
def history(
    request: Request, _user: Operator, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> History:
    """The gallery's changes, newest first."""
    with station_of(request).products.looked_at() as gallery:
        events = gallery.events(max(0, gallery.version - limit))
        return History.model_validate({"events": [vars(event) for event in reversed(events)]})


@router.post("/rollback", responses=failures(*CHANGING, 404))
def rollback(request: Request, asked: RollbackAsked, user: Engineer) -> VersionAnswer:
    """Return to the products of any earlier version, as a new version."""
    noted(request, to=asked.version)
    with station_of(request).gallery(user.name) as gallery:
        if asked.version > gallery.version:
            raise RequestError(
                404, "not_found", f"there is no version {asked.version} (0 to {gallery.version})",
                "choose one of the history",
            )  # fmt: skip
        version = gallery.rollback(asked.version)
    station_of(request).memory.returned(asked.version)
    return VersionAnswer(version=version)


@router.post("/undo", responses=failures(*CHANGING))
def undo(request: Request, user: Operator) -> VersionAnswer:
    """Take the last change back, with all that it registered at once, as a new version."""
    target, version = station_of(request).products.undo(user.name)
    station_of(request).memory.returned(target)
    noted(request, to=target)
    return VersionAnswer(version=version)


def _picture(upload: Upload, *, catalogue: bool) -> Picture:
    if catalogue:
        return catalogue_picture(upload.image, upload.origin)
    return Picture(upload.image, upload.jpeg, upload.origin, tuple(inspect_picture(upload.image)))


def _known(gallery: Gallery, label: str) -> None:
    if label not in gallery.state():
        raise RequestError(404, "not_found", f"there is no product {label!r}", _GONE)


def _no_snapshot(identifier: int) -> RequestError:
    return RequestError(404, "not_found", f"there is no snapshot {identifier}", _GONE)


def _answer(request: Request, registered: Registered) -> RegisteredAnswer:
    request.state.audit.update(version=registered.version, snapshots=registered.snapshots)
    return RegisteredAnswer.model_validate(vars(registered))
