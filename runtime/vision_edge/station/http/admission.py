"""Admission: who may send a body, how large it may be, and how much may be under way in all.

All of it is decided before a byte of the body is read, by the route and by who asks; what the
request says of itself can only make less of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from vision_edge.station.core.limits import Budget
from vision_edge.station.http.auth import Auth, Identity
from vision_edge.station.http.paths import PREFIX
from vision_edge.station.http.request_error import RequestError
from vision_edge.station.settings.station import ServerSettings

MAX_JSON = 64 * 1024
MAX_LOGIN = 4 * 1024
LARGE_PIXELS, LARGE_WAIT_S = 8_000_000, 20.0
"""Pictures of more pixels are worked on one request at a time, so that verdicts keep a core; the
next waits so many seconds."""
_large = threading.Lock()
LOGIN = f"{PREFIX}/login"
UPLOADS = (f"{PREFIX}/captures", f"{PREFIX}/products/upload")
"""The routes that take pictures."""


class Admission:
    """Admits requests' bodies, and the pictures that are decoded for them.

    Args:
        settings: Of the server.
        auth: Knows who asks.
    """

    def __init__(self, settings: ServerSettings, auth: Auth) -> None:
        self._upload = round(settings.max_upload_mb * 1e6)
        self._auth = auth
        self._bytes = Budget(round(settings.max_uploading_mb * 1e6))
        self._pixels = Budget(settings.max_pixels_at_once)

    @contextmanager
    def room(self, scope: Scope) -> Iterator[int]:
        """Hold room for a request's body for a block, and for what `hold_pixels` asks for in it.

        Yields:
            How many bytes the body may have.

        Raises:
            RequestError: 401 if a body comes from nobody known, 413 if it says that it is too
                large, 503 if too much is under way already.
        """
        most, declared = _limits(scope, self._upload)
        identity = self._known(scope)
        if identity is None and declared and scope["path"] != LOGIN:
            raise RequestError(
                401, "unauthorised", "you are not logged in", "log in, or send a token"
            )
        if declared > most:
            raise too_large(most)
        with ExitStack() as held:
            if most > MAX_JSON:
                _hold(held, self._bytes, declared, "uploads")
            scope["state"]["held"] = held
            scope["state"]["pixels"] = self._pixels
            yield most

    def _known(self, scope: Scope) -> Identity | None:
        """Return who asks, and have the connection know whether it is someone."""
        try:
            identity = self._auth.identify(HTTPConnection(scope), use=False)
        except RequestError:
            identity = None
        connection = scope["state"].get("connection")
        if connection is not None:
            connection.known = identity is not None
        return identity


def hold_pixels(request: Request, pixels: int) -> None:
    """Hold room for decoded pictures until a request is answered.

    Args:
        request: The request.
        pixels: All that it has decoded at once.

    Raises:
        RequestError: 422 if they are too many by themselves, 503 if others' are in the way. Large
            ones wait for their turn: call this in a thread, and once a request.
    """
    budget: Budget = request.state.pixels
    if pixels > budget.most:
        raise RequestError(
            422, "too_many_pixels",
            f"together the pictures have {pixels:,} pixels, over the limit of {budget.most:,}",
            "send fewer at once",
        )  # fmt: skip
    _hold(request.state.held, budget, pixels, "pictures")
    if pixels > LARGE_PIXELS:
        if not _large.acquire(timeout=LARGE_WAIT_S):
            raise _busy("large pictures")
        request.state.held.callback(_large.release)


def hold_frames(request: Request, pixels: int) -> None:
    """Hold room for a source's own frames until a request is answered.

    Args:
        request: The request.
        pixels: Of all frames that are kept at once. Of a camera so large that they are more than
            the whole budget, all of that is held: its frames are nobody's upload.

    Raises:
        RequestError: 503 if others' pictures are in the way.
    """
    budget: Budget = request.state.pixels
    _hold(request.state.held, budget, min(pixels, budget.most), "pictures")


def too_large(most: int) -> RequestError:
    """Return what is said of a body of more than `most` bytes."""
    return RequestError(
        413, "too_large", f"a request like this may hold {most:,} bytes at most", "send less"
    )


def _limits(scope: Scope, upload: int) -> tuple[int, int]:
    """Return the most bytes that a route takes, and how many a request may be about to send."""
    path = scope["path"]
    most = upload if path in UPLOADS else MAX_LOGIN if path == LOGIN else MAX_JSON
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 18:
        raise too_large(most)
    chunked = "transfer-encoding" in headers
    return most, most if chunked else int(declared)


def _hold(held: ExitStack, budget: Budget, amount: int, what: str) -> None:
    if not budget.take(amount):
        raise _busy(what)
    held.callback(budget.give, amount)


def _busy(what: str) -> RequestError:
    return RequestError(
        503, "busy", f"too many {what} are under way", "send it again in a moment",
        headers={"Retry-After": "1"},
    )  # fmt: skip
