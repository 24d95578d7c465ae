"""What the variables of a source show: their types, and their values of verdicts and counts."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from vision_edge.station.core.wire import Record

VARIABLES = {
    "Label": ("String", ""),
    "Score": ("Double", 0.0),
    "Known": ("Boolean", False),
    "Band": ("String", ""),
    "AgeMs": ("Double", 0.0),
    "Verification": ("String", ""),
    "Expected": ("String", ""),
    "Reason": ("String", ""),
    "WrongRate": ("Double", -1.0),
    "Time": ("DateTime", datetime(1970, 1, 1, tzinfo=timezone.utc)),
    "Sequence": ("UInt32", 0),
    "State": ("String", ""),
    "ExpectedNow": ("String", ""),
    "Answer": ("String", ""),
    "Answers": ("UInt32", 0),
    "Parts": ("UInt32", 0),
    "UnsureParts": ("UInt32", 0),
    "UnknownParts": ("UInt32", 0),
    "MissedParts": ("UInt32", 0),
    "PartsTotal": ("UInt64", 0),
    "Products": ("String", "{}"),
}
"""Type and first value of each variable of a source, by its name."""


def counted(now: Record, total: int) -> dict[str, Any]:
    """Return the variables of a source's counts."""
    return {
        "Parts": now.get("parts", 0) & 0xFFFFFFFF,
        "UnsureParts": now.get("unsure", 0) & 0xFFFFFFFF,
        "UnknownParts": now.get("unknown", 0) & 0xFFFFFFFF,
        "MissedParts": now.get("missed", 0) & 0xFFFFFFFF,
        "PartsTotal": total,
        "Products": json.dumps(now.get("products", {}), ensure_ascii=False),
    }


def initial() -> dict[str, Any]:
    """Return the variables of a source of which nothing is known yet."""
    return {name: value for name, (_, value) in VARIABLES.items()}


def shown(record: Record, sequence: int) -> dict[str, Any]:
    """Return the variables of a verdict in the order in which they are written."""
    return {
        "Label": record["label"] or "",
        "Score": float(record["score"]),
        "Known": bool(record["known"]),
        "Band": str(record["band"]),
        "AgeMs": float(record["age_ms"]),
        **_verification(record),
        "Time": datetime.fromisoformat(record["time"]),
        "Sequence": sequence,
    }


def _verification(record: Record) -> dict[str, Any]:
    """Return the variables of a verdict against the product that was expected, if there was one."""
    told = record.get("verification") or {}
    rate = told.get("wrong_rate")
    return {
        "Verification": told.get("answer", ""),
        "Expected": told.get("expected", ""),
        "Reason": told.get("reason", ""),
        "WrongRate": -1.0 if rate is None else float(rate),
    }
