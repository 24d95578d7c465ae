"""Checking records: is every line as it was written, is none missing, and who has sealed them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.record_lines import (
    MAX_LINE,
    NOTHING,
    Line,
    files_of,
    hash_of,
)
from vision_edge.runtime.provenance.statement import RecordsStatement, SealedRecords, parsed
from vision_edge.runtime.provenance.trust import TrustedKey, TrustStore
from vision_edge.runtime.system.files import open_regular


@dataclass
class RecordsFound:
    """What was found of a file of records.

    Attributes:
        path: The file.
        lines: Whole lines that follow each other.
        kinds: How many there are of each kind.
        not_written: What gaps say was not written, by kind.
        problem: What is wrong, first; empty for nothing.
        line: The first line that is wrong; None if none can be named.
        unsealed: Whether nothing is wrong but that it has no seal (yet).
        sealed: What the seal says; None where there is none.
        key: Whose seal it is.
        previous: Hash of the last line of the file before.
        head: Of the last line.
        first: Time of the first line.
        last: Of the last.
    """

    path: Path
    lines: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    not_written: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    line: int | None = None
    unsealed: bool = False
    sealed: SealedRecords | None = None
    key: TrustedKey | None = None
    previous: str = NOTHING
    head: str = NOTHING
    first: datetime | None = None
    last: datetime | None = None

    @property
    def sound(self) -> bool:
        """Whether it is sealed, and as it was sealed."""
        return self.sealed is not None and not self.problem


def check_records(path: Path, store: TrustStore) -> RecordsFound:
    """Check one file of records.

    Args:
        path: The file.
        store: Whose seals count: keys that are trusted for records.

    Returns:
        What was found; a file that was changed is no error.

    Raises:
        ProvenanceError: If it cannot be read, or is no plain file.
    """
    found, digest, waiting = RecordsFound(path), hashlib.sha256(), None
    try:
        for data in _lines(path):
            if waiting is not None:
                digest.update(waiting)
            if not _follows(found, data):
                return found
            waiting = data
    except OSError as error:
        raise ProvenanceError(
            f"{path}: cannot be read ({error.strerror})",
            fix="check it; a link or a pipe is no file of records",
        ) from error
    if waiting is None:
        return _bad(found, "empty: not one line", None)
    if found.kinds["seal"]:
        return _check_seal(found, waiting, digest.hexdigest(), store)
    found.unsealed = True
    said = f"not sealed: its last line is {found.lines}, and what came after may have been cut off"
    return _bad(found, said, None)


def check_folder(folder: Path, store: TrustStore) -> list[RecordsFound]:
    """Check all files of records in a folder, and that each goes on where the one before ends.

    Raises:
        ProvenanceError: If there is none, or one cannot be read.
    """
    paths = files_of(folder)
    if not paths:
        raise ProvenanceError(f"{folder}: no file of records", fix="give the station's folder")
    found = [check_records(path, store) for path in paths]
    for before, after in pairwise(found):
        if not after.problem and after.previous != before.head:
            said = f"does not go on where {before.path.name} ends: a file is missing, or altered"
            _bad(after, said, 1)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        while data := file.readline(MAX_LINE + 2):
            yield data


def _follows(found: RecordsFound, data: bytes) -> bool:
    """Take a line if it follows the one before; note what is wrong if not."""
    expected = found.lines + 1
    if found.kinds["seal"]:
        _bad(found, f"line {expected} comes after the seal", expected)
        return False
    if not data.endswith(b"\n"):
        found.unsealed = len(data) <= MAX_LINE
        torn = f"not sealed, and line {expected} is torn: {len(data)} bytes without an end"
        _bad(found, torn, expected)
        return False
    try:
        line = Line.from_bytes(data[:-1])
    except (ValueError, RecursionError) as error:
        _bad(found, f"line {expected} is no record ({error})", expected)
        return False
    if line.number != expected:
        _bad(found, f"line {expected} is missing, or moved: its place has {line.number}", expected)
        return False
    if expected == 1:
        found.previous, found.first = line.prev, line.time
    elif line.prev != found.head:
        wrong = expected - 1
        _bad(found, f"line {wrong} was changed: line {expected} holds another hash of it", wrong)
        return False
    found.lines, found.head, found.last = expected, hash_of(data[:-1]), line.time
    found.kinds[line.kind] += 1
    lost = line.body.get("not_written") if line.kind == "gap" else None
    if isinstance(lost, dict):
        found.not_written.update({str(k): v for k, v in lost.items() if isinstance(v, int)})
    return True


def _check_seal(found: RecordsFound, data: bytes, sha256: str, store: TrustStore) -> RecordsFound:
    where = f"{found.path.name}, its seal"
    try:
        line = Line.from_bytes(data[:-1])
        envelope = Envelope.from_document(line.body.get("envelope"), where)
        key = store.signer(envelope, "records", where)
        statement = parsed(RecordsStatement, envelope.payload, where)
    except ProvenanceError as error:
        return _bad(found, error.what, found.lines)
    sealed = statement.predicate
    if sealed.signed_at >= key.not_after:  # a key that was replaced or has expired since counts
        said = f"sealed at {sealed.signed_at.isoformat()}, when the key {key.title} had expired"
        return _bad(found, f"{where}: {said}", found.lines)
    if (
        list(statement.files.values()) != [sha256]
        or (sealed.lines, sealed.head) != (found.lines - 1, line.prev)
        or sealed.previous != found.previous
    ):
        return _bad(
            found,
            "its lines follow each other, and are not those that were sealed: they were rewritten",
            None,
        )
    found.sealed, found.key = sealed, key
    return found


def _bad(found: RecordsFound, problem: str, line: int | None) -> RecordsFound:
    found.problem, found.line = problem, line
    return found
