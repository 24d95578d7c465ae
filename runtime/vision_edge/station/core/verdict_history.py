"""The history: the latest verdicts with their pictures, so that a wrong one can be put right.

They lie in SQLite under the station's state folder, within a bound of number and of bytes; the
oldest go first. Verdicts on frames that show the same, and say the same, are one (`passages`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.limits import Buckets
from vision_edge.station.core.passage_pictures import PassagePictures
from vision_edge.station.core.passages import NEAR_SECONDS, Given, Passages, Remembered, goes_on
from vision_edge.station.core.review_queue import shown_of
from vision_edge.station.core.tables import NEWEST, Tables
from vision_edge.station.core.wire import Record
from vision_edge.station.core.writer import Writer
from vision_edge.station.settings.history import HistorySettings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
  id TEXT PRIMARY KEY, time TEXT NOT NULL, source TEXT NOT NULL, label TEXT,
  nearest TEXT NOT NULL, score REAL NOT NULL, margin REAL, stranger_rate REAL, band TEXT NOT NULL,
  decided TEXT, right TEXT, author TEXT, version INTEGER, jpeg BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS kept_source ON kept (source, id);
CREATE INDEX IF NOT EXISTS kept_label ON kept (label, id);
"""
_COLUMNS = (
    "id", "time", "source", "label", "nearest", "score", "margin", "stranger_rate", "band",
    "decided", "right", "author",
)  # fmt: skip
NO_PRODUCT = ""
"""What `right` is for a picture that shows no product."""


class HistoryError(VisionEdgeError):
    """The history cannot be read or written, or does not hold such a verdict (any more)."""


@dataclass(frozen=True)
class HistoryQuery:
    """Which verdicts are asked for; None asks for any.

    Attributes:
        product: Those that said so, or were put right to it, or were nearest to it if unknown.
        source: Of a source.
        band: Of a band: `"accept"`, `"review"` or `"unknown"`.
        since: Not before this time, ISO 8601 in UTC with milliseconds, as records have it.
        until: Not after it.
        before: Older than the verdict of this identifier: to go on with.
        corrected: Those that a person has decided on, or those that nobody has.
    """

    product: str | None = None
    source: str | None = None
    band: str | None = None
    since: str | None = None
    until: str | None = None
    before: str | None = None
    corrected: bool | None = None

    def condition(self) -> tuple[str, list[object]]:
        """Return it as a condition of SQL, and the condition's values."""
        asked = {
            "(label = ?1 OR right = ?1 OR (label IS NULL AND nearest = ?1))": self.product,
            "source = ?2": self.source,
            "band = ?3": self.band,
            "time >= ?4": self.since,
            "time <= ?5": self.until,
            "id < ?6": self.before,
        }
        parts = [sql for sql, value in asked.items() if value is not None]
        if self.corrected is not None:
            parts.append(f"decided IS {'NOT ' if self.corrected else ''}NULL")
        return " AND ".join(parts) or "1", list(asked.values())


@dataclass(frozen=True)
class _Shown:
    frame: Frame
    record: Record
    locator: Locator | None


class VerdictHistory:
    """Keeps verdicts with their pictures; they are taken from lines, and written by one thread.

    Args:
        path: The SQLite file.
        settings: How much is kept.
        told: Called with the source and the JPEG of each verdict that is kept, in one thread.

    Attributes:
        skipped: Verdicts that came too quickly to be kept with a picture.
    """

    def __init__(
        self,
        path: Path,
        settings: HistorySettings,
        told: Callable[[str, bytes], object] = lambda source, jpeg: None,
    ) -> None:
        self.skipped = 0
        self._told = told
        self._settings = settings
        self._buckets = Buckets(settings.per_minute / 60, max(5.0, settings.per_minute / 4))
        self._passages: Passages[_Shown] = Passages()
        self._remembered = Remembered(NEAR_SECONDS)
        self._pictures: PassagePictures[_Shown] = PassagePictures()
        self._tables = Tables(path, _SCHEMA, "the history of verdicts", HistoryError)
        [(self._count, self._held)] = self._tables.rows(
            "SELECT count(*), coalesce(sum(length(jpeg)), 0) FROM kept"
        )
        self._writer: Writer[_Shown] = Writer(
            "history", self._keep, self._lost, lambda: self._settle(time.monotonic())
        )

    def take(
        self,
        frame: Frame,
        record: Record,
        locator: Locator | None = None,
        vector: Embeddings | None = None,
        trigger: str = "none",
    ) -> None:
        """Take a verdict; never waits.

        Args:
            frame: What the verdict rests on.
            record: The verdict. That nothing is in view is not kept.
            locator: Finds its source's parts: the picture is cut to the one that it is about.
            vector: Its embedding's `direction`; without it, it is kept for itself.
            trigger: Of its source.
        """
        wanted = record.get("in_view", True)
        shown = _Shown(frame, record, locator)
        if vector is None or not goes_on(record, trigger):
            if wanted:
                self._offer(shown)
            return
        doubt = record["nearest"] if record["band"] == "review" else bool(record["nearest"])
        answer = (record["band"], record["label"] or doubt, wanted)
        source = record["source_name"]
        given = self._passages.look(
            source, frame.captured, vector, shown if wanted else None, answer, record["id"]
        )
        self._offer_given(source, given)

    def find(self, query: HistoryQuery, limit: int) -> list[dict[str, Any]]:
        """Return the verdicts that are asked for, newest first, as JSON values."""
        self._settle(float("inf"))
        self.flush()
        condition, values = query.condition()
        rows = self._tables.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM kept WHERE {condition} "  # noqa: S608 (no values)
            "ORDER BY id DESC LIMIT ?7",
            [*values, limit],
        )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def kept_of(self, source: str, identifier: str) -> dict[str, Any]:
        """Return what is kept of a verdict: itself, or the picture of the passage it belongs to.

        A passage that shows the same as an earlier one is kept when somebody asks, while its
        picture is at hand: another passage's picture never stands for it.

        Args:
            source: Whose verdict it is.
            identifier: Which.

        Raises:
            HistoryError: If no picture of it is kept (any more).
        """
        self._settle(float("inf"))
        self.flush()
        picture, shown = self._pictures.of(source, identifier)
        wanted = [identifier] if picture is None else [identifier, picture]
        found = self._rows_of(source, wanted)
        if not found and shown is not None and self._writer.put(shown):
            self.flush()
            found = self._rows_of(source, wanted)
        if not found:
            raise HistoryError(
                f"no picture of the verdict {identifier[:40]!r} of {source[:40]!r} is kept",
                fix="look for another of the same part in the history",
            )
        return found[0]

    def _rows_of(self, source: str, identifiers: Sequence[str]) -> list[dict[str, Any]]:
        """Return those that are kept, in the order of `identifiers`."""
        rows = [
            row
            for one in identifiers
            for row in self._tables.rows(
                f"SELECT {', '.join(_COLUMNS)} FROM kept WHERE id = ? AND source = ?",  # noqa: S608
                (one, source),
            )
        ]
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def jpeg(self, identifier: str) -> bytes:
        """Return a verdict's picture.

        Raises:
            HistoryError: If it is not kept (any more).
        """
        rows = self._tables.rows("SELECT jpeg FROM kept WHERE id = ?", (identifier,))
        if not rows:
            raise HistoryError(
                f"there is no verdict {identifier[:40]!r} in the history (any more)",
                fix="load the list again; the oldest go when newer ones come",
            )
        jpeg: bytes = rows[0][0]
        return jpeg

    def pictures(self, identifiers: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Return source and JPEG of each verdict.

        Raises:
            HistoryError: If one of them is not kept (any more).
        """
        found = {}
        for identifier in dict.fromkeys(identifiers):
            jpeg = self.jpeg(identifier)
            [(source,)] = self._tables.rows("SELECT source FROM kept WHERE id = ?", (identifier,))
            found[identifier] = (str(source), jpeg)
        return found

    def decide(
        self, identifiers: Sequence[str], right: str, author: str, at: str, version: int
    ) -> list[dict[str, Any]]:
        """Note what a person has decided on verdicts; return those that are kept, as they were.

        Args:
            identifiers: Which.
            right: The product, or `NO_PRODUCT`.
            author: Who.
            at: When, as records have it.
            version: The gallery's version that it made.
        """
        marks = ", ".join("?" * len(identifiers))
        with self._tables.changing() as db:
            rows = db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM kept WHERE id IN ({marks})",  # noqa: S608
                list(identifiers),
            ).fetchall()
            db.execute(
                f"UPDATE kept SET decided = ?, right = ?, author = ?, version = ? "  # noqa: S608
                f"WHERE id IN ({marks})",
                [at, right, author, version, *identifiers],
            )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def withdraw(self, version: int, before: int = NEWEST) -> None:
        """Take back what was decided after a version of the gallery, to which it has returned.

        Args:
            version: That one.
            before: The version that it made by returning; what was decided from then on stays.
        """
        with self._tables.changing() as db:
            db.execute(
                "UPDATE kept SET decided = NULL, right = NULL, author = NULL, version = NULL "
                "WHERE version > ? AND version < ?",
                (version, before),
            )

    def size(self) -> tuple[int, int]:
        """Return how many verdicts are kept, and the bytes of their pictures."""
        return self._count, self._held

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was taken is written."""
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what was taken, and close the file."""
        self._settle(float("inf"))
        if self._writer.close():
            self._tables.close()

    def _settle(self, now: float) -> None:
        for source, passage in self._passages.overdue(now):
            self._offer_given(source, [passage])

    def _offer_given(self, source: str, passages: Sequence[Given[_Shown]]) -> None:
        for passage in passages:
            shown = passage.shown
            picture = None if shown is None else shown.record["id"]
            self._pictures.note(source, passage.mark, picture, shown)
            if shown is None:
                continue
            key = f"{shown.record['source_name']} {passage.answer}"
            like = self._remembered.like(key, passage.at, passage.vector, edge=passage.is_edge)
            if passage.first and like is None:
                self._remembered.add(key, passage.at, passage.vector, shown.record["id"])
                self._offer(shown)

    def _offer(self, shown: _Shown) -> None:
        if self._buckets.take(shown.record["source_name"]) > 0 or not self._writer.put(shown):
            self.skipped += 1

    def _lost(self, _shown: _Shown) -> None:
        self.skipped += 1

    def _keep(self, shown: _Shown) -> None:
        record = shown.record
        jpeg = encode_jpeg(shown_of(shown.frame, record, shown.locator))
        values = (
            record["id"], record["time"], record["source_name"], record["label"],
            record["nearest"], record["score"], record["margin"], record["stranger_rate"],
            record["band"], jpeg,
        )  # fmt: skip
        count, held = self._count, self._held
        with self._tables.changing() as db:
            new = db.execute(
                "INSERT OR IGNORE INTO kept VALUES (?,?,?,?,?,?,?,?,?,NULL,NULL,NULL,NULL,?)",
                values,
            ).rowcount
            count, held = count + new, held + new * len(jpeg)
            while count > self._settings.most or (count > 1 and held > self._settings.bytes):
                identifier, size = db.execute(
                    "SELECT id, length(jpeg) FROM kept ORDER BY id LIMIT 1"
                ).fetchone()
                db.execute("DELETE FROM kept WHERE id = ?", (identifier,))
                count, held = count - 1, held - size
        self._count, self._held = count, held
        self._told(record["source_name"], jpeg)
