"""The review queue: pictures of what was unknown or doubtful, until a person has decided.

They lie in SQLite under the station's state folder and survive a restart. The queue is bounded, and
fills no quicker than a person can look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.locating import Found, Locator, most_prominent
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.part_outlines import area
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.limits import Buckets
from vision_edge.station.core.passages import Given, Passages, Remembered, goes_on
from vision_edge.station.core.second_look import SCHEMA, Judged, SecondLook, Steady
from vision_edge.station.core.tables import Tables
from vision_edge.station.core.wire import Record
from vision_edge.station.core.writer import Writer
from vision_edge.station.settings.station import ReviewSettings

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  id TEXT PRIMARY KEY, time TEXT NOT NULL, source TEXT NOT NULL, nearest TEXT NOT NULL,
  score REAL NOT NULL, margin REAL, band TEXT NOT NULL, jpeg BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS seen (
  id TEXT PRIMARY KEY, times INTEGER NOT NULL, last TEXT NOT NULL, direction BLOB
) STRICT;
"""
_COLUMNS = ("id", "time", "source", "nearest", "score", "margin", "band")


class ReviewError(VisionEdgeError):
    """The review queue cannot be read or written, or has no such picture."""


@dataclass(frozen=True)
class _Offer:
    frame: Frame
    record: Record
    locator: Locator | None
    vector: Embeddings | None = None
    judged: Judged | None = None


@dataclass(frozen=True)
class _Again:
    """Another picture like one that waits."""

    identifier: str
    time: str


class ReviewQueue:
    """Pictures that wait for a person: one a part, and one of what looks the same.

    Frames are offered by lines, and written by one thread. A verdict on a part stands for itself;
    those on frames are taken together while they show the same (`passages`), and count as known if
    one of them is. A picture like one that waits, or that was dismissed lately, is counted with it.

    Args:
        path: The SQLite file.
        settings: How many are kept, and how quickly they come.
        changed: Called with how many wait, after each change.

    Attributes:
        dropped: Pictures that were pushed out by newer ones since the start.
        skipped: Pictures that came too quickly to be kept.
        grouped: Pictures that showed what waited, or was dismissed, already.
        answered: Pictures that waited, and are recognised since the gallery has changed.
    """

    def __init__(
        self, path: Path, settings: ReviewSettings, changed: Callable[[int], None]
    ) -> None:
        self.dropped = self.skipped = self.grouped = self.answered = 0
        self._settings, self._changed = settings, changed
        rate = settings.per_minute / 60
        self._buckets = Buckets(rate, max(3.0, settings.per_minute / 4))
        self._passages: Passages[_Offer] = Passages()
        self._remembered = Remembered()
        self._tables = Tables(path, _SCHEMA + SCHEMA, "the review queue", ReviewError)
        self._second_look = SecondLook(self._tables, self._answered)
        self._recall()
        self._pending = self._count()
        self._writer: Writer[_Offer | _Again] = Writer(
            "review", self._write, self._lost, self._idle
        )

    @property
    def pending(self) -> int:
        """How many pictures wait."""
        return self._pending

    @property
    def waiting(self) -> int:
        """How many offers are not written yet."""
        return self._writer.waiting

    def offer(
        self,
        frame: Frame,
        record: Record,
        locator: Locator | None = None,
        vector: Embeddings | None = None,
        judged: Judged | None = None,
        trigger: str = "none",
    ) -> None:
        """Keep a picture if its verdict was unknown or doubtful; never waits.

        Args:
            frame: What the verdict rests on.
            record: The verdict; where it is right, whatever else it is called, there is no doubt.
            locator: Finds its source's parts: the picture is cut to the one that it is about.
            vector: Its embedding's `direction`; without it, it is compared with no other.
            judged: What it was judged by; without it, it is not judged anew.
            trigger: Of its source.
        """
        source, in_view = record["source_name"], record.get("in_view", True)
        offer = _Offer(frame, record, locator, vector, judged)
        right = (record.get("verification") or {}).get("answer") == "right"
        wanted = in_view and not record["known"] and not right
        if vector is None or not goes_on(record, trigger):
            if wanted:
                self._take(offer, frame.captured)
            return
        shown = offer if wanted else None
        self._take_given(
            source, self._passages.look(source, frame.captured, vector, shown, in_view)
        )

    def _take_given(self, source: str, passages: Sequence[Given[_Offer]]) -> None:
        for passage in passages:
            if passage.shown is None:
                if passage.answer:  # something was in view, and known
                    self._remembered.recognised(source, passage.at, passage.vector)
            elif passage.first:
                self._take(passage.shown, passage.at, edge=passage.is_edge)
            else:  # still there: what is like it is not news
                self._remembered.like(source, passage.at, passage.vector)

    def _take(self, offer: _Offer, at: float, *, edge: bool = False) -> None:
        """Hand a picture to the thread that writes, unless one like it was handed over."""
        source, identifier = offer.record["source_name"], offer.record["id"]
        if offer.vector is not None:
            like = self._remembered.like(source, at, offer.vector, edge=edge)
            if like is not None:
                self.grouped += 1
                self._writer.put(_Again(like, offer.record["time"]))
                return
        if self._buckets.take(source) > 0 or not self._writer.put(offer):
            self.skipped += 1
        elif offer.vector is not None:
            self._remembered.add(source, at, offer.vector, identifier)

    def items(self, limit: int) -> list[dict[str, Any]]:
        """Return what waits, newest first, as JSON values; `times` says how often it came."""
        columns = ", ".join(f"items.{column}" for column in _COLUMNS)
        rows = self._tables.rows(
            f"SELECT {columns}, coalesce(times, 1), coalesce(last, items.time) "  # noqa: S608
            "FROM items LEFT JOIN seen USING (id) ORDER BY items.id DESC LIMIT ?",
            (limit,),
        )
        return [dict(zip((*_COLUMNS, "times", "last"), row, strict=True)) for row in rows]

    def some(self, identifiers: Sequence[str]) -> list[dict[str, Any]]:
        """Return those of some pictures that wait, as JSON values."""
        marks = ", ".join("?" * len(identifiers))
        rows = self._tables.rows(
            f"SELECT {', '.join(_COLUMNS)} FROM items WHERE id IN ({marks})",  # noqa: S608
            list(identifiers),
        )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def jpeg(self, identifier: str) -> bytes:
        """Return a picture.

        Raises:
            ReviewError: If it does not wait (any more).
        """
        rows = self._tables.rows("SELECT jpeg FROM items WHERE id = ?", (identifier,))
        if not rows:
            raise ReviewError(
                f"there is no picture {identifier[:40]!r} to review (any more)",
                fix="somebody else may have decided on it; load the list again",
            )
        jpeg: bytes = rows[0][0]
        return jpeg

    def pictures(self, identifiers: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        """Return source and JPEG of each picture.

        Raises:
            ReviewError: If one of them does not wait (any more).
        """
        found = {}
        for identifier in dict.fromkeys(identifiers):
            jpeg = self.jpeg(identifier)
            [(source,)] = self._tables.rows("SELECT source FROM items WHERE id = ?", (identifier,))
            found[identifier] = (str(source), jpeg)
        return found

    def remove(self, identifiers: Sequence[str], *, forget: bool = True) -> list[str]:
        """Take pictures off the queue, those that still wait; return which they were.

        Args:
            identifiers: Which.
            forget: Whether what is like them may come again; else not for some minutes.
        """
        gone = []
        with self._tables.changing() as db:
            for identifier in dict.fromkeys(identifiers):
                done = db.execute("DELETE FROM items WHERE id = ?", (identifier,))
                db.execute("DELETE FROM seen WHERE id = ?", (identifier,))
                db.execute("DELETE FROM judged WHERE id = ?", (identifier,))
                gone += [identifier] * done.rowcount
        (self._remembered.forget if forget else self._remembered.dismiss)(set(identifiers))
        self._recount()
        return gone

    def judge_again(self, steady: Steady) -> None:
        """Take off what waits and is recognised by now, soon, since the gallery has changed."""
        self._second_look.ask(steady)

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was offered is written."""
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what was offered, and close the file."""
        self._settle(float("inf"))
        if self._writer.close():
            self._tables.close()

    def _idle(self) -> None:
        self._settle(time.monotonic())
        self._second_look.take()

    def _answered(self, identifiers: list[str]) -> None:
        self.answered += len(self.remove(identifiers))

    def _settle(self, now: float) -> None:
        """Take the passages that are over, though no frame has said so."""
        for source, passage in self._passages.overdue(now):
            self._take_given(source, [passage])

    def _lost(self, item: _Offer | _Again) -> None:
        if isinstance(item, _Offer):
            self.skipped += 1
            self._remembered.forget({item.record["id"]})

    def _write(self, item: _Offer | _Again) -> None:
        if isinstance(item, _Offer):
            self._keep(item)
        else:
            self._count_again(item)
        self._second_look.take()  # where pictures come without a pause

    def _count_again(self, item: _Again) -> None:
        with self._tables.changing() as db:
            db.execute(
                "UPDATE seen SET times = times + 1, last = ? WHERE id = ?",
                (item.time, item.identifier),
            )

    def _keep(self, offer: _Offer) -> None:
        record = offer.record
        jpeg = encode_jpeg(shown_of(offer.frame, record, offer.locator))
        values = (
            record["id"], record["time"], record["source_name"], record["nearest"],
            record["score"], record["margin"], record["band"], jpeg,
        )  # fmt: skip
        direction = None if offer.vector is None else offer.vector.astype("<f4").tobytes()
        with self._tables.changing() as db:
            db.execute("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            db.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, 1, ?, ?)",
                (record["id"], record["time"], direction),
            )
            if offer.judged is not None:
                self._second_look.keep(db, record["id"], offer.judged)
            excess = db.execute(
                "DELETE FROM items WHERE id NOT IN (SELECT id FROM items ORDER BY id DESC LIMIT ?)",
                (self._settings.most,),
            ).rowcount
            if excess > 0:
                db.execute("DELETE FROM seen WHERE id NOT IN (SELECT id FROM items)")
                db.execute("DELETE FROM judged WHERE id NOT IN (SELECT id FROM items)")
        self.dropped += max(0, excess)
        self._recount()

    def _recall(self) -> None:
        """Remember what waits from before the start."""
        for identifier, source, direction in self._tables.rows(
            "SELECT id, source, direction FROM items JOIN seen USING (id) ORDER BY id"
        ):
            if direction is not None:
                vector = np.frombuffer(direction, "<f4").astype(np.float32)
                self._remembered.add(source, float("-inf"), vector, identifier)

    def _count(self) -> int:
        return int(self._tables.rows("SELECT count(*) FROM items")[0][0])

    def _recount(self) -> None:
        self._pending = self._count()
        self._changed(self._pending)


def shown_of(frame: Frame, record: Record, locator: Locator | None) -> Image:
    """Return what a person is to see of a verdict: the part, where it is known, or the frame.

    Args:
        frame: What the verdict rests on most.
        record: The verdict; of its located parts the largest counts, which its answer is about.
        locator: Finds parts of a picture that was judged whole.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in (p["box"] for p in record.get("parts", ()))]
    if boxes:
        shown = [Found(box, True) for box in boxes]
        return crop_alone(frame.image, max(shown, key=lambda one: area(one.box)), shown)
    if locator is None:
        return frame.image
    found = locator.find_all(frame.image)
    part = most_prominent(found)
    return frame.image if part is None else crop_alone(frame.image, part, found, locator.scene)
