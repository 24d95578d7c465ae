"""Sinks for later: rotating JSON lines, CSV, and pictures worth a person's look."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TextIO

from vision_edge.runtime.recognition.part_consensus import Box, PartVerdict
from vision_edge.runtime.recognition.prototypes import Decision
from vision_edge.runtime.recognition.verdict import Verdict, answer_of
from vision_edge.runtime.sources.frame import Frame

COLUMNS = (
    "time", "source", "frame", "age_ms", "label", "score", "margin", "known", "nearest", "band",
    "stranger_rate", "expected", "verification", "reason", "expected_score", "wrong_rate",
    "part", "part_first", "part_last", "part_frames", "part_box",
)  # fmt: skip
"""A row's columns; the last five are of a part, and empty where the whole picture is judged."""
_FRAME = ("time", "source", "frame", "age_ms")


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_cell(value: Any) -> Any:
    """Return a value for a table's cell: text that a spreadsheet would compute gets a `'` before.

    A product's or a file's name may begin so; numbers stay numbers. See OWASP, CSV injection.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return "'" + value
    return value


class RotatingJsonlSink:
    """Appends JSON lines; a full file moves to `.1`, the one before to `.2`, and so on.

    Args:
        path: The file that is written.
        max_bytes: Size past which it is rotated.
        keep: How many older files are kept.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int = 5) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._stream: TextIO | None = None

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Append one verdict, flushed at once."""
        line = verdict.to_json() + "\n"
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("a", encoding="utf-8")
        size = self._stream.tell()
        if size and size + len(line.encode()) > self._max_bytes:
            self._rotate(self._stream)
            self._stream = self._path.open("a", encoding="utf-8")
        self._stream.write(line)
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _rotate(self, stream: TextIO) -> None:
        stream.close()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path if number == 0 else self._path.with_name(f"{self._path.name}.{number}")


def rows_of(verdict: Verdict) -> list[dict[str, Any]]:
    """Return a verdict as rows by `COLUMNS`: one, or one for each located part."""
    cells = {key: value for key, value in verdict.document().items() if key in _FRAME}
    if not verdict.parts:
        return [{**cells, **_answer(verdict.decision), **_part(verdict.part)}]
    rows = []
    for part in verdict.parts:
        assert part.decision is not None  # a verdict is about what is judged
        own = {"part": part.number, "part_box": _box(part.box)}
        rows.append({**cells, **_part(verdict.part), **_answer(part.decision), **own})
    return rows


class CsvSink:
    """Writes a row a verdict, or a located part, with a header.

    The file is replaced at the first verdict.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None
        self._writer: Any = None

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Write one verdict, flushed at once."""
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("w", encoding="utf-8", newline="")
            self._writer = csv.DictWriter(self._stream, COLUMNS)
            self._writer.writeheader()
        for row in rows_of(verdict):
            self._writer.writerow({key: as_cell(value) for key, value in row.items()})
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


def _answer(decision: Decision) -> dict[str, Any]:
    """Return what something is, by column; those of what is expected are empty without."""
    cells = {key: value for key, value in answer_of(decision).items() if key in COLUMNS}
    cells["known"] = "true" if decision.known else "false"
    if decision.verification is None:
        return cells
    told = decision.verification.document()
    return {
        **cells,
        "expected": told["expected"],
        "verification": told["answer"],
        "reason": told["reason"],
        "expected_score": told["score"],
        "wrong_rate": told["wrong_rate"],
    }


def _part(part: PartVerdict | None) -> dict[str, Any]:
    if part is None:
        return {}
    return {
        "part": part.number,
        "part_first": part.first,
        "part_last": part.last,
        "part_frames": part.frames,
        "part_box": "" if part.box is None else _box(part.box),
    }


def _box(box: Box) -> str:
    return " ".join(map(str, box))


class JsonlSink:
    """Writes one JSON object a line, flushed at once, so that a stop loses nothing.

    The file is replaced when the first verdict comes: a run that fails before that leaves an
    older file as it was.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Write one verdict."""
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("w", encoding="utf-8")
        self._stream.write(verdict.to_json() + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
