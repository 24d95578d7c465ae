"""Login, logout, and who one is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.models import Done, LoginAsked, Me
from vision_edge.station.http.api.routes import Operator, noted
from vision_edge.station.http.auth import COOKIE, Auth, Identity
from vision_edge.station.http.request_error import RequestError

router = APIRouter(tags=["session"])


def _auth(request: Request) -> Auth:
    auth: Auth = request.app.state.auth
    return auth


def _me(identity: Identity) -> Me:
    return Me(user=identity.user.name, role=identity.user.role, csrf=identity.csrf)


@router.post("/login", responses=failures(*CHANGING))
def login(request: Request, response: Response, asked: LoginAsked) -> Me:
    """Open a session: a cookie, and the CSRF token that POSTs must bear."""
    auth = _auth(request)
    noted(request, deed=False, user=asked.user)
    if auth.settings.users_file is None:
        raise RequestError(
            409, "no_users", "this station has no users", "set users_file in [server]"
        )
    cookie, identity = auth.login(asked.user, asked.password, request)
    request.state.user = identity.user.name
    response.set_cookie(
        COOKIE, cookie, max_age=round(3600 * auth.settings.session_hours), path="/",
        secure=auth.settings.tls, httponly=True, samesite="strict",
    )  # fmt: skip
    return _me(identity)


@router.post("/logout", responses=failures(*CHANGING))
def logout(request: Request, response: Response, _user: Operator) -> Done:
    """End the session."""
    noted(request, deed=False)
    _auth(request).logout(request)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return Done()


@router.get("/me", responses=failures(*READING, 413))
def me(request: Request, _user: Operator) -> Me:
    """Who asks."""
    identity = _auth(request).identify(request)
    assert identity is not None
    return _me(identity)
