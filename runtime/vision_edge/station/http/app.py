"""The HTTP side of a station: a FastAPI application behind a guard."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from starlette.types import Lifespan

from vision_edge.station.core.camera_finder import CameraFinder
from vision_edge.station.core.station import Station
from vision_edge.station.http.admission import Admission
from vision_edge.station.http.api import (
    answers,
    cameras,
    captures,
    cohort,
    counts,
    kept,
    probes,
    products,
    review,
    scenes,
    scoring,
    session,
    sources,
    statistics,
    verdicts,
)
from vision_edge.station.http.api.fleet import fleet_router
from vision_edge.station.http.auth import SCHEMES, Auth
from vision_edge.station.http.camera_checks import CameraChecks
from vision_edge.station.http.guard import Guard
from vision_edge.station.http.page.page import Visitor, page_router
from vision_edge.station.http.page.shift_page import shift_context
from vision_edge.station.http.paths import PREFIX
from vision_edge.station.http.preview import Previews
from vision_edge.station.http.readings import StationReadings
from vision_edge.station.http.streams import Streams

_TOPICS = (
    verdicts, counts, sources, scenes, captures, products, review, kept, statistics, cohort,
    scoring, session, cameras,
)  # fmt: skip


def create_app(station: Station, *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Return the application over a station, which its caller starts and closes.

    Args:
        station: What it shows and changes; started.
        lifespan: What else begins and ends with it.

    Raises:
        VisionEdgeError: If a file of users or tokens cannot be used.
    """
    settings = station.settings.server
    app = FastAPI(
        title="vision-edge station",
        version=version("vision-edge"),
        description="Verdicts, products and review of one station.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.station = station
    app.state.auth = Auth(settings)
    app.state.previews = Previews()
    app.state.camera_checks = CameraChecks()
    app.state.camera_finder = CameraFinder(station.settings.sources)
    app.state.streams = Streams(settings.max_streams)
    app.state.auth.when_one_ends(app.state.streams.recheck)
    station.metrics.read_from(StationReadings(station))
    answers.install(app, station)
    app.include_router(probes.router)
    for topic in _TOPICS:
        app.include_router(topic.router, prefix=PREFIX, dependencies=SCHEMES)
    app.include_router(fleet_router(station), prefix=PREFIX, dependencies=SCHEMES)
    app.include_router(_pages(station, app.state.auth))
    app.add_middleware(
        Guard,
        settings=settings,
        admission=Admission(settings, app.state.auth),
        audit=station.audit,
        metrics=station.metrics,
    )
    return app


def _pages(station: Station, auth: Auth) -> APIRouter:
    """Return the operator's pages."""

    def visitor(request: Request) -> Visitor | None:
        identity = auth.identify(request)
        return None if identity is None else Visitor(identity.user.name, identity.user.role)

    contexts = {"shift": lambda request, words: shift_context(station, request, words)}
    sign_in = auth.settings.users_file is not None
    return page_router(station, visitor, sign_in=sign_in, contexts=contexts)
