"""Records: lines of JSON, each with its number and the hash of the line before.

A file begins with an `open` line, which holds the hash of the last line of the file before, and
ends with a `seal`: a signed statement on every byte before it. What is changed, taken out, put in
or moved breaks the chain there; what is rewritten with all hashes after it is not what was sealed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.signing import enveloped
from vision_edge.runtime.provenance.statement import (
    RecordsStatement,
    SealedRecords,
    subjects,
    utc_now,
)

NOTHING = 64 * "0"
"""The hash that the first line of the first file holds."""
MAX_LINE = 1 << 20
"""Bytes of a line, without its end."""
_NAME = re.compile(r"records-(\d{6,9})\.jsonl")
_MEMBERS = {"n", "time", "kind", "prev", "body"}


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        number: From 1 on.
        time: When it was written.
        kind: `open`, `verdict`, `deed`, `gap`, `recovered` or `seal`.
        prev: Hash of the line before; of the first, of the last line of the file before.
        body: What it says.
    """

    number: int
    time: datetime
    kind: str
    prev: str
    body: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Return it without the line's end."""
        document = {
            "n": self.number, "time": self.time.isoformat(timespec="milliseconds"),
            "kind": self.kind, "prev": self.prev, "body": self.body,
        }  # fmt: skip
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str).encode(
            "utf-8", "backslashreplace"
        )

    @staticmethod
    def from_bytes(data: bytes) -> Line:
        """Read a line.

        Raises:
            ValueError: If it is none.
        """
        if len(data) > MAX_LINE:
            raise ValueError(f"{len(data)} bytes, more than {MAX_LINE}")
        document = json.loads(data)
        if not isinstance(document, dict) or set(document) != _MEMBERS:
            raise ValueError(f"no object of {', '.join(sorted(_MEMBERS))}")
        number, body = document["n"], document["body"]
        if type(number) is not int or not isinstance(body, dict):
            raise ValueError("n is no whole number, or body no object")
        time = datetime.fromisoformat(str(document["time"]))
        if time.tzinfo is None:
            raise ValueError("its time has no zone")
        return Line(number, time, str(document["kind"]), str(document["prev"]), body)


def hash_of(line: bytes) -> str:
    """Return the hash of a line, without its end, that the next one holds."""
    return hashlib.sha256(line).hexdigest()


def number_of(path: Path) -> int | None:
    """Return the number of a file of records; None for another file."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def file_name(number: int) -> str:
    """Return the name of a file of records."""
    return f"records-{number:06d}.jsonl"


def files_of(folder: Path) -> list[Path]:
    """Return a folder's files of records, oldest first."""
    found = [(number, path) for path in folder.iterdir() if (number := number_of(path))]
    return [path for _, path in sorted(found)]


def now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


def seal_of(name: str, sha256: str, told: dict[str, Any], key: PrivateKey) -> Envelope:
    """Return the signed statement that seals a file.

    Args:
        name: The file's.
        sha256: Of every byte before the seal.
        told: Fields of `SealedRecords` but `signed_at`.
        key: Signs.
    """
    predicate = SealedRecords(**told, signed_at=utc_now())
    statement = RecordsStatement(subject=subjects({name: sha256}), predicate=predicate)
    return enveloped(statement.to_bytes(), key)
