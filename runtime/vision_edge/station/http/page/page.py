"""The operator's pages: templates, styles and scripts, served by the station itself.

The pages hold no data of their own: their scripts use the API under `/api/v1`. Nothing is fetched
from elsewhere, and the content security policy allows no inline script or style.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import jinja2
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from vision_edge.runtime.reports.drawing import chart_rules
from vision_edge.station.http.page.texts import ENGLISH

FOLDER = Path(__file__).parent
PAGES = {
    "live": "/",
    "register": "/register",
    "review": "/review",
    "history": "/history",
    "products": "/products",
    "shift": "/shift",
    "health": "/health",
}
"""Path of each page that needs a visitor, in the order of the navigation."""

WITHOUT_TAB = {"view": "/view"}
"""The same, of pages that others lead to."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

Context = Callable[[Request, Mapping[str, str]], dict[str, Any]]
"""Returns what a template needs for a request, given the page's texts."""
Role = Literal["operator", "engineer"]


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page.

    Attributes:
        user: Name, shown on the page.
        role: What may be offered; the API checks it again.
    """

    user: str
    role: Role


class Host(Protocol):
    """What the pages need of a station."""

    @property
    def name(self) -> str:
        """What the station is called."""

    def status(self) -> dict[str, Any]:
        """Return what `GET /api/v1/status` returns."""


def page_router(
    host: Host,
    visitor: Callable[[Request], Visitor | None],
    *,
    sign_in: bool = False,
    texts: Mapping[str, str] = ENGLISH,
    contexts: Mapping[str, Context] | None = None,
) -> APIRouter:
    """Return the routes of the pages and of their static files.

    Args:
        host: The station.
        visitor: Says who made a request; None sends them to the login page.
        sign_in: Whether there are users at all, so that one can sign out.
        texts: Every text, by key.
        contexts: What a page's template needs besides, by the page's name.
    """
    pages = _Pages(host, visitor, sign_in, texts, contexts or {})
    router = APIRouter(include_in_schema=False)
    for name, path in (PAGES | WITHOUT_TAB).items():
        router.add_api_route(path, pages.view(name), methods=["GET"])
    router.add_api_route("/login", pages.login, methods=["GET"])
    router.add_api_route("/static/chart.css", _chart_rules, methods=["GET"])
    router.add_api_route("/static/{name}", _static(), methods=["GET"])
    return router


class _Pages:
    """Renders the pages."""

    def __init__(
        self,
        host: Host,
        visitor: Callable[[Request], Visitor | None],
        sign_in: bool,
        texts: Mapping[str, str],
        contexts: Mapping[str, Context],
    ) -> None:
        self._texts, self._contexts = texts, contexts
        self._host, self._visitor, self._sign_in = host, visitor, sign_in
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            t=lambda key, **values: texts[key].format_map(values),
            texts_json=json.dumps(dict(texts), ensure_ascii=False),
            pages=PAGES,
        )

    def view(self, name: str) -> Callable[[Request], Response]:
        """Return the endpoint of one page."""

        def endpoint(request: Request) -> Response:
            visitor = self._visitor(request)
            if visitor is None:
                return RedirectResponse(f"/login?next={quote(_target(request))}", 303, HEADERS)
            context = self._contexts.get(name)
            more = {} if context is None else context(request, self._texts)
            return self._render(name, visitor, **more)

        return endpoint

    def login(self, request: Request) -> Response:
        """Return the login page; who needs none is sent on."""
        visitor = self._visitor(request)
        if visitor is not None and not self._sign_in:
            return RedirectResponse("/", 303, HEADERS)
        return self._render("login", visitor)

    def _render(self, name: str, visitor: Visitor | None, **more: Any) -> Response:
        template = self._environment.get_template(f"{name}.html")
        status = self._host.status() if visitor is not None else {}
        html = template.render(
            page=name,
            station=self._host.name,
            visitor=visitor,
            sign_in=self._sign_in,
            status=status,
            **{"report": None, **more},
        )
        return HTMLResponse(html, headers=HEADERS)


def _chart_rules() -> Response:
    """Return how charts look; their colours are the page's."""
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(chart_rules(), media_type="text/css", headers=headers)


def _static() -> Callable[[str, Request], Any]:
    """Return the endpoint of the static files: one flat folder, revalidated at each use."""
    files = StaticFiles(directory=FOLDER / "static")

    async def endpoint(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return endpoint


def _target(request: Request) -> str:
    """Return the path and query of a request, to come back to."""
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")
