"""What the page of a shift shows: the report of its last hours, as the API has it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import Request

from vision_edge.station.core.shift_report import shift_report
from vision_edge.station.core.shift_statistics import Span, StatisticsError
from vision_edge.station.core.station import Station
from vision_edge.station.http.page.shift_charts import shift_charts

HOURS = {1: 1, 8: 10, 24: 30, 168: 120}
"""Hours that are offered, and the minutes of a step of each."""
_USUAL = 8
_SHOWN = 200


def shift_context(station: Station, request: Request, words: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template needs; a `problem` and no report where there is none to be had.

    Args:
        station: The station.
        request: Its query may name `hours`, of those offered, and a `source`.
        words: Texts of the page.
    """
    asked = request.query_params.get("hours", "")
    hours = int(asked) if asked.isdecimal() and int(asked) in HOURS else _USUAL
    names = [line.name for line in station.lines]
    source = request.query_params.get("source")
    source = source if source in names else None
    until = time.time()
    step = HOURS[hours]
    until = -(-until // (60 * step)) * 60 * step  # whole steps, so that the last is no half one
    span = Span(until - 3600 * hours, until, source)
    try:
        report = shift_report(station.memory.statistics, span, step)
    except StatisticsError as error:  # a full disk, say
        return {"problem": error}
    return {
        "report": report,
        "charts": shift_charts(report, words),
        "hours": hours,
        "offered": list(HOURS),
        "source": source,
        "names": names,
        "products": list(report.products.items())[:_SHOWN],
        "more": max(0, len(report.products) - _SHOWN),
        "clock": _clock,
        "iso": lambda at: datetime.fromtimestamp(at).astimezone().isoformat(),
        "percent": lambda share: "–" if share is None else f"{100 * share:.1f} %",
    }


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%d.%m. %H:%M:%S")
