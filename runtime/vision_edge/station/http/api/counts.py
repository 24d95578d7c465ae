"""How many parts there were: of this shift, of all, and as a table."""

from __future__ import annotations

import csv
import io

from fastapi import APIRouter, Request, Response

from vision_edge.runtime.sinks.tables import as_cell
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.routes import Operator, noted, station_of
from vision_edge.station.http.api.status_models import CountsAnswer

router = APIRouter(tags=["counts"])
COLUMNS = ("shift", "since", "reason", "by", "source", "kind", "label", "parts")


@router.get("/counts", responses=failures(*READING, 413))
def counts(request: Request, _user: Operator) -> CountsAnswer:
    """The parts of each source since the shift began or was reset, and of all shifts."""
    return CountsAnswer.model_validate(station_of(request).tally.document())


@router.get(
    "/counts.csv",
    response_class=Response,
    responses={
        200: {
            "description": "A row a shift or reset, source and product, oldest first.",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        },
        **failures(*READING, 413),
    },
)
def table(request: Request, _user: Operator) -> Response:
    """All counts as a table for spreadsheets."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for row in station_of(request).tally.rows():
        writer.writerow([as_cell(value) for value in row])
    name = 'attachment; filename="counts.csv"'
    return Response(stream.getvalue(), media_type="text/csv", headers={"Content-Disposition": name})


@router.post("/counts/reset", responses=failures(*CHANGING))
def reset(request: Request, user: Operator) -> CountsAnswer:
    """Count anew from now on; the total, and the table of what was, stay."""
    noted(request)
    station = station_of(request)
    station.reset_counts(user.name)
    return CountsAnswer.model_validate(station.tally.document())
