"""A shift in numbers, as JSON and as a table."""

from __future__ import annotations

import csv
import io
import time
from datetime import datetime, timezone
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from vision_edge.runtime.sinks.tables import as_cell
from vision_edge.station.core.shift_report import COLUMNS, ShiftReport, shift_report
from vision_edge.station.core.shift_statistics import Span
from vision_edge.station.core.station import Station
from vision_edge.station.http.api.answers import READING, failures
from vision_edge.station.http.api.routes import Operator, station_of
from vision_edge.station.http.api.shift_models import StatisticsAnswer

router = APIRouter(prefix="/statistics", tags=["statistics"])
HOURS = 8.0
When = Annotated[AwareDatetime | None, Query(examples=["2026-01-01T06:00:00Z"])]
Step = Annotated[int, Query(ge=1, le=1440, description="Minutes that are taken together.")]
_CSV = {
    "description": f"A table with a header: {', '.join(COLUMNS)}.",
    "content": {"text/csv": {"schema": {"type": "string"}}},
}


@router.get("", responses=failures(*READING, 404, 409, 413))
def statistics(
    request: Request,
    _user: Operator,
    since: When = None,
    until: When = None,
    source: Annotated[str | None, Query(max_length=40)] = None,
    step_minutes: Step = 10,
) -> StatisticsAnswer:
    """Verdicts by step of time, product and source; corrections and outages. By default 8 hours."""
    report = _report(station_of(request), since, until, source, step_minutes)
    return StatisticsAnswer.model_validate(report.document())


@router.get(
    ".csv", response_class=Response, responses={200: _CSV, **failures(*READING, 404, 409, 413)}
)
def table(
    request: Request,
    _user: Operator,
    since: When = None,
    until: When = None,
    source: Annotated[str | None, Query(max_length=40)] = None,
    step_minutes: Step = 1,
) -> Response:
    """The same counts as a table: one row a step, source, product and band."""
    station = station_of(request)
    report = _report(station, since, until, source, step_minutes)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for start, *cells, age, most in report.table():
        at = datetime.fromtimestamp(start, timezone.utc).isoformat(timespec="seconds")
        rows.writerow([at, *map(as_cell, cells), round(age, 1), round(most, 1)])
    name = f"{station.name}-{datetime.fromtimestamp(report.span.until):%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue().encode("utf-8"), headers=headers, media_type="text/csv")


def _report(
    station: Station,
    since: datetime | None,
    until: datetime | None,
    source: str | None,
    step: int,
) -> ShiftReport:
    if source is not None:
        station.line(source)
    end = time.time() if until is None else until.timestamp()
    begin = end - 3600 * HOURS if since is None else since.timestamp()
    return shift_report(station.memory.statistics, Span(begin, end, source), step)
