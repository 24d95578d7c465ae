"""A source as a device: which metrics it has, and what is to be told of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from vision_edge.station.core.product_codes import Codes
from vision_edge.station.core.wire import Record
from vision_edge.station.wires.sparkplug.payload import Kind, Metric, Value

TRIGGER, EXPECTED = "Device Control/Trigger", "Expected Product"
REFUSED, REFUSALS = "Command/Refused", "Command/Refusals"
STATE = "State"
NUMBER = "Verdict/Sequence"
UNKNOWN, WITHOUT_CODE = 65535, 65534
_DEAD = {"connecting", "lost", "ended"}
_PRODUCT = "Counts/Products/"
_VERDICT: dict[str, Kind] = {
    "Verdict/Product": "String",
    "Verdict/Code": "UInt16",
    "Verdict/Known": "Boolean",
    "Verdict/Band": "String",
    "Verdict/Score": "Double",
    "Verdict/Margin": "Double",
    "Verdict/Age ms": "Double",
    "Verdict/Frame": "UInt64",
    "Verdict/Id": "String",
    "Verdict/In View": "Boolean",
    "Verdict/Trigger": "UInt64",
    "Verdict/Verification": "String",
    "Verdict/Expected": "String",
    "Verdict/Reason": "String",
    "Verdict/Wrong Rate": "Double",
    NUMBER: "UInt64",
}
_TAGS: dict[str, tuple[Kind, Value]] = {
    STATE: ("String", ""),
    EXPECTED: ("String", ""),
    "Answer": ("String", ""),
    "Answers": ("UInt32", 0),
    "Counts/Parts": ("UInt64", 0),
    "Counts/Unknown": ("UInt64", 0),
    "Counts/Missed": ("UInt64", 0),
    "Counts/Total": ("UInt64", 0),
    REFUSED: ("String", ""),
    REFUSALS: ("UInt32", 0),
}


class Device:
    """What is known of one source; from any thread.

    Args:
        name: The source's name.
        codes: Products' codes, or None.
        commanded: Whether it is judged on command, and may be so by Sparkplug.
    """

    def __init__(self, name: str, codes: Codes | None = None, commanded: bool = False) -> None:
        self.name = name
        self._codes = codes
        self._lock = threading.Lock()
        self._tags = dict(_TAGS)
        if commanded:
            self._tags[TRIGGER] = ("Boolean", False)
        self._untold: set[str] = set()
        self._grown = False  # whether a metric came that the last birth did not name
        self._latest: Record | None = None

    @property
    def alive(self) -> bool:
        """Whether its camera shows something, or did a moment ago."""
        with self._lock:
            return self._tags[STATE][1] not in {"", *_DEAD}

    def verdict(self, record: Record) -> None:
        """Note the newest verdict, for births."""
        self._latest = record

    def forget(self) -> None:
        """Forget the newest verdict, which cannot be told."""
        self._latest = None

    def state(self, status: Record) -> None:
        """Note the source's status."""
        expected = (status.get("expected") or {}).get("product")
        self._set(
            {
                STATE: str(status.get("state", "")),
                EXPECTED: expected or "",
                "Answer": str(status.get("answer") or ""),
                "Answers": int(status.get("answers") or 0) & 0xFFFF_FFFF,
            }
        )

    def counts(self, now: Record, total: int) -> None:
        """Note its counts, and those of each product that was ever among them."""
        products = now.get("products", {})
        with self._lock:
            zeros = {name: 0 for name in self._tags if name.startswith(_PRODUCT)}
        self._set(
            {
                "Counts/Parts": now.get("parts", 0),
                "Counts/Unknown": now.get("unknown", 0),
                "Counts/Missed": now.get("missed", 0),
                "Counts/Total": total,
                **zeros,
                **{_PRODUCT + label: parts for label, parts in products.items()},
            }
        )

    def refused(self, why: str) -> None:
        """Have it told that a command was refused, and what is expected all the same."""
        with self._lock:
            count = self._tags[REFUSALS][1]
            assert isinstance(count, int)
            self._tags[REFUSALS] = ("UInt32", (count + 1) & 0xFFFF_FFFF)
            self._tags[REFUSED] = ("String", why)
            self._untold |= {REFUSALS, REFUSED, EXPECTED}

    def accepted(self) -> None:
        """Have it told that the last command was accepted."""
        self._set({REFUSED: ""})

    def birth(self) -> list[Metric]:
        """Return all metrics with their values of now.

        The verdict's are those of the newest since the station started, and null before; its number
        is null, so that a birth is never counted as a verdict.
        """
        with self._lock:
            self._untold.clear()
            self._grown = False
            tags = [Metric(name, kind, value) for name, (kind, value) in self._tags.items()]
        latest = self._latest
        if latest is None:
            return [*tags, *(Metric(name, kind, None) for name, kind in _VERDICT.items())]
        return [*tags, *self.verdict_metrics(latest, None, False)]

    def changes(self) -> list[Metric] | None:
        """Return what has changed since it was last told; None: only a birth can tell it."""
        with self._lock:
            if self._grown:
                return None
            names, self._untold = sorted(self._untold), set()
            return [Metric(name, *self._tags[name]) for name in names]

    def verdict_metrics(self, record: Record, number: int | None, historical: bool) -> list[Metric]:
        """Return the metrics of a verdict.

        Args:
            record: The verdict.
            number: The outbox's number of it.
            historical: Whether a newer value has been told.
        """
        at = int(datetime.fromisoformat(record["time"]).timestamp() * 1000)
        values = {**dict(self._verdict_values(record)), NUMBER: number}
        return [Metric(name, kind, values[name], at, historical) for name, kind in _VERDICT.items()]

    def _verdict_values(self, record: Record) -> Iterator[tuple[str, Value]]:
        told: dict[str, Any] = record.get("verification") or {}
        rate, margin = told.get("wrong_rate"), record.get("margin")
        yield "Verdict/Product", record["label"] or ""
        yield "Verdict/Code", self._code(record)
        yield "Verdict/Known", bool(record["known"])
        yield "Verdict/Band", str(record["band"])
        yield "Verdict/Score", float(record["score"])
        yield "Verdict/Margin", None if margin is None else float(margin)
        yield "Verdict/Age ms", float(record["age_ms"])
        yield "Verdict/Frame", int(record["frame"])
        yield "Verdict/Id", str(record["id"])
        yield "Verdict/In View", bool(record.get("in_view", True))
        yield "Verdict/Trigger", record.get("trigger")
        yield "Verdict/Verification", str(told.get("answer", ""))
        yield "Verdict/Expected", str(told.get("expected", ""))
        yield "Verdict/Reason", str(told.get("reason", ""))
        yield "Verdict/Wrong Rate", None if rate is None else float(rate)

    def _code(self, record: Record) -> int:
        if not record["known"]:
            return UNKNOWN
        code = None if self._codes is None else self._codes.code(record["label"])
        return code or WITHOUT_CODE

    def _set(self, values: dict[str, Value]) -> None:
        with self._lock:
            for name, value in values.items():
                if name not in self._tags:
                    self._tags[name] = ("UInt64", value)
                    self._grown = True
                elif self._tags[name][1] != value:
                    self._tags[name] = (self._tags[name][0], value)
                    self._untold.add(name)
