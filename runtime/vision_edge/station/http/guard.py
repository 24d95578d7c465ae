"""The guard before the application: what every request must pass, and every answer bears."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision_edge.station.core.audit import AuditLog
from vision_edge.station.core.limits import Buckets, neighbourhood
from vision_edge.station.core.metrics import Metrics
from vision_edge.station.http.admission import Admission, too_large
from vision_edge.station.http.auth import SAFE_METHODS, client_of
from vision_edge.station.http.request_error import RequestError
from vision_edge.station.settings.station import ServerSettings

log = logging.getLogger(__name__)
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Borne by every answer that does not set its own."""

_UNLIMITED = ("/livez", "/readyz")
_BURST_SECONDS = 6
"""A page with a hundred pictures loads at once."""
BODY_SECONDS = 60.0
"""So long may a body take to come in; a slower sender only holds a connection."""


class Guard:
    """ASGI middleware: host, origin, rate and size are checked; errors, headers, audit are added.

    Args:
        app: What is guarded.
        settings: Of the server.
        admission: What decides on bodies.
        audit: Where every change and every refused attempt at one is written.
        metrics: Where answers are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServerSettings,
        admission: Admission,
        audit: AuditLog,
        metrics: Metrics,
    ) -> None:
        self._app, self._settings = app, settings
        self._audit, self._metrics = audit, metrics
        self._admission = admission
        rate = settings.requests_per_second
        self._buckets = Buckets(rate, _BURST_SECONDS * rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return
        scope.setdefault("state", {})["request_id"] = secrets.token_hex(8)
        answer = _Answer(send, scope["state"]["request_id"])
        try:
            self._check(scope)
            with self._admission.room(scope) as most:
                await self._app(scope, _Body(receive, most).receive, answer.send)
        except RequestError as problem:
            await answer.problem(problem, scope, receive)
        except Exception:
            log.exception("request %s failed", answer.request_id)
            failed = RequestError(
                500, "internal", "the station failed at this request",
                f"look for request {answer.request_id} in its log",
            )  # fmt: skip
            await answer.problem(failed, scope, receive)
        finally:
            self._record(scope, answer)

    def _check(self, scope: Scope) -> None:
        """Refuse what no browser or program of this station sends.

        Raises:
            RequestError: With the reason.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not host_allowed(host, self._settings):
            raise RequestError(
                421, "unknown_host", f"this station is not called {host[:80]!r}",
                'use its address, or add that name to hosts in [server]',
            )  # fmt: skip
        _check_origin(scope["method"], f"{scope['scheme']}://{host}", headers)
        if scope["path"] in _UNLIMITED:
            return
        wait = self._buckets.take(neighbourhood(client_of(scope)))
        if wait > 0:
            raise RequestError(
                429, "too_many_requests", "too many requests from this address",
                f"wait {wait:.1f} s", headers={"Retry-After": str(int(wait) + 1)},
            )  # fmt: skip

    def _record(self, scope: Scope, answer: _Answer) -> None:
        state: Mapping[str, Any] = scope["state"]
        self._metrics.request(scope["method"], answer.status)
        if scope["method"] in SAFE_METHODS:
            return
        self._audit.write(
            state.get("user", "-"),
            f"{scope['method'][:10]} {scope['path'][:200]}",
            answer.status,
            deed=answer.status < 400 and bool(state.get("deed", True)),
            client=client_of(scope)[:64],
            request=answer.request_id,
            **state.get("audit", {}),
        )


class _Answer:
    """An answer under way: it gets its headers, and its status is remembered."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    async def problem(self, problem: RequestError, scope: Scope, receive: Receive) -> None:
        """Answer with a problem, unless the answer has begun already."""
        if not self.status:
            response = JSONResponse(problem.document(), problem.status, problem.headers)
            await response(scope, receive, self.send)


class _Body:
    """A request's body, counted as it comes in: what it declares is not believed."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._bytes = 0
        self._whole = False
        self._until = time.monotonic() + BODY_SECONDS

    async def receive(self) -> Message:
        if self._whole:  # only waits for the client to go
            return await self._receive()
        try:
            left = max(0.0, self._until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise HTTPException(408, "the request's body came too slowly") from None
        self._whole = not message.get("more_body", False)
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            # an HTTPException, since FastAPI takes any other for a body that cannot be parsed
            raise HTTPException(413, too_large(self._most).what)
        return message


def host_allowed(host: str, settings: ServerSettings) -> bool:
    """Whether a `Host` header names this station.

    Another name that was made to point here (DNS rebinding) does not; an address always does.
    """
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    name = name if name and port.isdecimal() else host
    name = name.strip("[]").lower()
    if name in {"localhost", settings.host.lower(), *(known.lower() for known in settings.hosts)}:
        return bool(name)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not settings.loopback


def _check_origin(method: str, own: str, headers: Headers) -> None:
    """Refuse what another site's page sends; `own` is this station's origin, scheme and all.

    Raises:
        RequestError: If it does.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    foreign = origin is not None and origin.lower() != own.lower()
    navigates = headers.get("sec-fetch-mode") == "navigate" and method in SAFE_METHODS
    if (foreign and method not in SAFE_METHODS) or (
        site not in ("same-origin", "none") and not navigates
    ):
        raise RequestError(
            403, "foreign_origin", "another site's page may not use this station",
            "open the station's own page; behind a proxy, name it in trusted_proxies of [server]",
        )  # fmt: skip
