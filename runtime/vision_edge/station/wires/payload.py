"""Verdicts as bytes of JSON, and how a consumer leaves out what it has had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vision_edge.station.core.wire import Record


def encoded(record: Record) -> bytes:
    """Return a record as one JSON object in UTF-8.

    Raises:
        ValueError: If it holds what JSON has no word for.
    """
    try:
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8")
    except TypeError as error:
        raise ValueError(str(error)) from error


def numbered(payload: bytes, sequence: int) -> bytes:
    """Return an encoded record with the outbox's number as its last field, `sequence`."""
    separator = b"," if len(payload) > 2 else b""
    return payload[:-1] + separator + b'"sequence":' + str(sequence).encode() + b"}"


def source_of(record: Record) -> str:
    """Return the name of the source that a record is about."""
    name = str(record.get("source_name") or record.get("source") or "unknown")
    return name.encode("utf-8", "replace").decode("utf-8")


class OnlyNew:
    """The rule for consumers: take a verdict once, however often it is delivered.

    A station's numbers rise, and a wire repeats only what it has sent before: whatever is not
    above the highest number seen has been seen. Keep `highest` across restarts of the consumer.

    Attributes:
        highest: The highest number taken, by station.
        gaps: Numbers that never came: verdicts that the station dropped.
    """

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}
        self.gaps = 0

    def take(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record is new."""
        station, sequence = str(record["station"]), int(record["sequence"])
        highest = self.highest.get(station)
        if highest is not None and sequence <= highest:
            return False
        self.gaps += 0 if highest is None else sequence - highest - 1
        self.highest[station] = sequence
        return True
