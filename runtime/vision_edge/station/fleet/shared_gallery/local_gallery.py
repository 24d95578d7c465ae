"""The line's entries, kept in the gallery's own file: they change together, or not at all.

They are notes beside the events, so a copy or a backup of a gallery knows how far it had got.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from vision_edge.runtime.gallery.gallery import Append, Gallery
from vision_edge.runtime.gallery.history import Contents, Event
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.gallery.snapshot_store import Snapshot, SnapshotFile
from vision_edge.station.fleet.shared_gallery.entries import (
    MAX_ORIGIN,
    MAX_PICTURES,
    Entry,
    Picture,
    negative_key,
    product_key,
    read_entry,
)
from vision_edge.station.fleet.shared_gallery.replica import (
    Entries,
    Places,
    absorb,
    merge,
    places_of,
    steps_to,
)

BEFORE_MS = 10 * 365 * 86_400_000
"""What a gallery held before it first met its line counts as ten years older than it is: a newcomer
adds to the line, and overrules nothing; among newcomers the later one counts, as ever."""


@dataclass(frozen=True)
class Exchange:
    """What one meeting of line and gallery brought.

    Attributes:
        changed: New entries, for what was changed here.
        applied: Entries of others that the gallery now shows.
    """

    changed: tuple[Entry, ...]
    applied: tuple[Entry, ...]


@dataclass(frozen=True)
class Limits:
    """Most bytes that are shared of one picture, of one product, and of the whole line."""

    picture: int = 8 << 20
    product: int = 64 << 20
    line: int = 2 << 30


@dataclass(frozen=True)
class _Known:
    """What was last read or written; valid as long as the file bears the same mark.

    The stamp counts, and so may be the same in another file; the mark is by chance.
    """

    path: Path
    stamp: int
    seen: int
    entries: Entries
    mark: str = ""


class LineGallery:
    """A station's share of its line, in whichever gallery file the station uses now.

    Args:
        line: The line's name.
        station: The station's name.
        limits: What goes beyond them stays on this station alone.
        now_ms: The station's clock, in milliseconds since 1970.
    """

    def __init__(self, line: str, station: str, limits: Limits, now_ms: Callable[[], int]) -> None:
        self._line, self._station = line, checked_label(station)
        self._limits, self._now_ms = limits, now_ms
        self._known: _Known | None = None
        self.unshared = 0

    @property
    def entries(self) -> Entries:
        """The newest entry of each key, as of the last exchange; not to be changed."""
        return {} if self._known is None else self._known.entries

    @property
    def seen(self) -> int:
        """The gallery's version as of the last exchange; -1 before the first."""
        return -1 if self._known is None else self._known.seen

    def exchange(
        self, gallery: Gallery, arrived: Sequence[Entry] = (), pictures: Sequence[Snapshot] = ()
    ) -> Exchange:
        """Find what was changed here, then show what others changed, in one transaction.

        Args:
            gallery: Opened with the model that embedded `pictures`.
            arrived: Entries of others; all their pictures are in the gallery's file already, or
                in `pictures`.
            pictures: Snapshots to keep.

        Raises:
            GalleryError: If the gallery belongs to another model by now, or cannot be written;
                nothing was changed.
        """
        author = gallery.author
        try:
            with gallery.changing() as append:
                result, known = self._exchange(gallery, append, arrived, pictures)
        finally:
            gallery.author = author
        self._known = known
        return result

    def _exchange(
        self,
        gallery: Gallery,
        append: Append,
        arrived: Sequence[Entry],
        pictures: Sequence[Snapshot],
    ) -> tuple[Exchange, _Known]:
        known = self._read(gallery)
        entries, contents = dict(known.entries), gallery.contents()
        for picture in pictures:
            gallery.snapshots.store(picture, gallery.model)
        files = gallery.snapshots.files()
        here = self._shared(contents, files)
        changed = self._absorb(gallery, entries, here, files, known)
        applied = [entry for entry in arrived if merge(entries, entry)]
        if applied:
            self._show(gallery, append, here, known.entries, changed, applied, files)
        return Exchange(tuple(changed), tuple(applied)), self._write(
            gallery, known, entries, [*changed, *applied]
        )

    def _absorb(
        self,
        gallery: Gallery,
        entries: Entries,
        here: Places,
        files: Mapping[int, SnapshotFile],
        known: _Known,
    ) -> list[Entry]:
        by_hash = {file.sha256: file for file in files.values()}

        def picture(sha256: str) -> Picture:
            file = by_hash[sha256]
            return Picture(sha256=sha256, bytes=file.bytes, origin=file.origin[:MAX_ORIGIN])

        changed_at = _moments(gallery.events(known.seen), files, self._now_ms())
        back = 0 if known.stamp else BEFORE_MS

        def moment(key: str) -> int:
            return max(0, changed_at(key) - back)

        return absorb(entries, here, self._station, picture, moment)

    def _show(
        self,
        gallery: Gallery,
        append: Append,
        here: Places,
        before: Entries,
        changed: Sequence[Entry],
        applied: Sequence[Entry],
        files: Mapping[int, SnapshotFile],
    ) -> None:
        """Append the events that make the gallery hold what the entries say, by their stations."""
        identifiers = {file.sha256: identifier for identifier, file in files.items()}
        entries = {**before, **{entry.key: entry for entry in changed}}
        for station, group in groupby(applied, key=lambda entry: entry.station):
            entries.update({entry.key: entry for entry in group})
            target = places_of(entries)
            gallery.author = f"station:{station}"
            for step in steps_to(here, target):
                snapshot = None if step.sha256 is None else identifiers[step.sha256]
                append(step.kind, step.label, snapshot=snapshot, argument=step.argument)
            here = target

    def _shared(self, contents: Contents, files: Mapping[int, SnapshotFile]) -> Places:
        """Return where the pictures are that others take: not too large, nor too many."""
        shared: Places = {}
        room: dict[str | None, tuple[int, int]] = {}
        places = contents.places()
        for identifier, place in places.items():
            file, (count, size) = files[identifier], room.get(place[1], (0, 0))
            count, size = (count + 1, size + file.bytes) if place[1] is not None else (1, 1)
            fits = count <= MAX_PICTURES and size <= self._limits.product
            if fits and file.bytes <= self._limits.picture:
                room[place[1]] = count, size
                shared[file.sha256] = place
        self.unshared = len(places) - len(shared)
        return shared

    def _read(self, gallery: Gallery) -> _Known:
        name = f"line/{self._line}"
        text = gallery.notes(name + "/state").get(name + "/state")
        state = json.loads(text) if text is not None else {"stamp": 0, "seen": 0}
        known = self._known
        mark = str(state.get("mark", ""))
        if known is not None and mark and (known.path, known.mark) == (gallery.path, mark):
            return known
        notes = gallery.notes(name + "/entry/").values()
        entries = [read_entry(note.encode()) for note in notes]
        by_key = {entry.key: entry for entry in entries}
        return _Known(gallery.path, int(state["stamp"]), int(state["seen"]), by_key, mark)

    def _write(
        self, gallery: Gallery, known: _Known, entries: Entries, new: Sequence[Entry]
    ) -> _Known:
        seen, stamp = gallery.version, known.stamp + 1
        if not new and seen == known.seen and known.stamp:
            return known
        name = f"line/{self._line}"
        notes = {f"{name}/entry/{entry.key}": entry.to_bytes().decode() for entry in new}
        mark = secrets.token_hex(8)
        state = json.dumps({"stamp": stamp, "seen": seen, "mark": mark})
        gallery.note({**notes, name + "/state": state})
        return _Known(gallery.path, stamp, seen, entries, mark)


def _moments(
    events: Sequence[Event], files: Mapping[int, SnapshotFile], now_ms: int
) -> Callable[[str], int]:
    """Return a function that says when a key was last changed, in milliseconds; never in future."""
    times: dict[str, int] = {}
    everything = 0
    for event in events:
        ms = min(now_ms, _milliseconds(event.time))
        if event.kind == "rollback":
            everything = ms
        for label in (event.label, event.argument if event.kind == "rename" else None):
            if label is not None:
                times[product_key(label)] = ms
        if event.label is None and event.snapshot is not None:
            times[negative_key(files[event.snapshot].sha256)] = ms
    return lambda key: max(times.get(key, 0), everything) or now_ms


def _milliseconds(time: str) -> int:
    return max(0, round(datetime.fromisoformat(time).timestamp() * 1000))
