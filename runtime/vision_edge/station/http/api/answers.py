"""How errors become answers, and how the document lists them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vision_edge.runtime.errors import (
    GalleryBusyError,
    GalleryError,
    ImageError,
    RegistrationError,
    VisionEdgeError,
)
from vision_edge.station.core.errors import BusyError, CropError, NotThereError, StationError
from vision_edge.station.core.review_queue import ReviewError
from vision_edge.station.core.shift_report import SpanError
from vision_edge.station.core.station import Station
from vision_edge.station.core.verdict_history import HistoryError
from vision_edge.station.http.api.models import ErrorAnswer, Responses
from vision_edge.station.http.request_error import RequestError

_KINDS: tuple[tuple[type[VisionEdgeError], int, str], ...] = (
    (ImageError, 422, "bad_image"),
    (BusyError, 503, BusyError.code),
    (ReviewError, 404, "not_found"),
    (HistoryError, 404, "not_found"),
    (SpanError, 422, SpanError.code),
    (NotThereError, 404, NotThereError.code),
    (CropError, 422, CropError.code),
    (RegistrationError, 409, "refused"),
    (GalleryBusyError, 503, "busy"),
    (GalleryError, 409, "gallery"),
    (VisionEdgeError, 409, "refused"),
)
_CODES = {
    400: ("bad_request", "send what the OpenAPI document says"),
    404: ("not_found", "see the OpenAPI document"),
    405: ("method_not_allowed", "see the OpenAPI document"),
    408: ("too_slow", "send it in one go"),
    413: ("too_large", "send less"),
    415: ("unsupported_media_type", "send what the OpenAPI document says"),
    422: ("invalid", "send what the OpenAPI document says"),
}
_MEANINGS = {
    400: "The request cannot be read.",
    401: "Nobody known asks.",
    403: "The role does not suffice, the CSRF token is missing, or another site asks.",
    404: "There is no such thing (any more).",
    408: "The body came too slowly.",
    409: "It cannot be done now, or is refused.",
    413: "The request is too large.",
    415: "The body's type is none that is understood.",
    421: "The station is not called so.",
    422: "A value is not fit, or a picture cannot be used.",
    429: "Too many requests; `Retry-After` says how long to wait.",
    500: "The station failed; its log says why.",
    503: "The station is not ready.",
}
READING = (400, 401, 403, 421, 422, 429, 503)
"""Statuses that any reading route may answer with."""

CHANGING = (*READING, 408, 409, 413, 415)
"""Statuses that any changing route may answer with."""


def failures(*statuses: int) -> Responses:
    """Return the document of error answers."""
    return {
        status: {"model": ErrorAnswer, "description": _MEANINGS[status]}
        for status in sorted(set(statuses))
    }


def install(app: FastAPI, station: Station) -> None:
    """Have every error answered as `{"error": {"code", "what", "fix"}}`."""

    def of_problem(_: Request, error: Exception) -> JSONResponse:
        problem = error if isinstance(error, RequestError) else problem_of(error, station)
        return JSONResponse(problem.document(), problem.status, problem.headers)

    def of_values(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return JSONResponse(_of_values(error).document(), 422)

    def of_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code, fix = _CODES.get(error.status_code, ("failed", "see the OpenAPI document"))
        problem = RequestError(error.status_code, code, str(error.detail)[:200], fix)
        return JSONResponse(problem.document(), problem.status, dict(error.headers or {}))

    app.add_exception_handler(VisionEdgeError, of_problem)
    app.add_exception_handler(RequestValidationError, of_values)
    app.add_exception_handler(HTTPException, of_http)


def problem_of(error: Exception, station: Station) -> RequestError:
    """Return an error of the runtime as an answer; paths of this device are left out."""
    assert isinstance(error, VisionEdgeError)
    status, code = next((s, c) for kind, s, c in _KINDS if isinstance(error, kind))
    more = error.more if isinstance(error, StationError) else None
    code = error.code if isinstance(error, StationError) else code
    path = str(station.settings.gallery)
    what, fix = (
        station.discreet((text or "").replace(path, "the gallery"))
        for text in (error.what, error.fix)
    )
    headers = {"Retry-After": "3"} if status == 503 else None
    return RequestError(
        status, code, what, fix or "see the station's log", more=more, headers=headers
    )


def _of_values(error: RequestValidationError) -> RequestError:
    found: list[dict[str, Any]] = list(error.errors())
    said = [
        f"{'.'.join(str(part) for part in one['loc'][1:]) or one['loc'][0]}: "
        f"{str(one['msg']).removeprefix('Value error, ')}"
        for one in found[:5]
    ]
    return RequestError(
        422, "invalid", "; ".join(said)[:500], "send what the OpenAPI document says"
    )
