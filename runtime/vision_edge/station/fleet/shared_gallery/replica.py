"""A station's copy of what its line holds, and how it meets the gallery. No file, thread or clock.

For each key the newest entry counts (a last-writer-wins map, Shapiro et al. 2011, A comprehensive
study of convergent and commutative replicated data types, section 3.2). A gallery keeps a picture
in one place only, so where two entries claim one, the newer has it: what a line holds is a function
of its newest entries alone, and stations that have seen the same entries hold the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vision_edge.station.fleet.shared_gallery.entries import (
    Clock,
    Entry,
    Picture,
    negative_key,
    product_key,
)

Place = tuple[str, str | None]
"""What a picture is: `add` or `negative`, and of which product."""
Places = dict[str, Place]
"""By a picture's SHA-256."""
Entries = dict[str, Entry]
"""The newest entry of each key."""


@dataclass(frozen=True)
class Step:
    """One event for a gallery, its snapshot named by SHA-256."""

    kind: str
    label: str | None
    sha256: str | None = None
    argument: str | None = None


def places_of(entries: Mapping[str, Entry]) -> Places:
    """Return what the line holds: each picture where the newest entry that claims it puts it."""
    places: Places = {}
    for entry in sorted(entries.values(), key=lambda entry: entry.order):
        for kind, pictures in (("add", entry.snapshots), ("negative", entry.negatives)):
            for picture in pictures:
                places.pop(picture.sha256, None)
                places[picture.sha256] = (kind, entry.label)
    return places


def key_of(sha256: str, place: Place) -> str:
    """Return the key that tells of a picture in a place."""
    label = place[1]
    return negative_key(sha256) if label is None else product_key(label)


def merge(entries: Entries, entry: Entry) -> bool:
    """Take in an entry if it is newer than what is known; return whether it was."""
    known = entries.get(entry.key)
    if known is not None and known.order >= entry.order:
        return False
    entries[entry.key] = entry
    return True


def absorb(
    entries: Entries,
    places: Places,
    station: str,
    picture: Callable[[str], Picture],
    moment: Callable[[str], int],
) -> list[Entry]:
    """Make entries for what a gallery holds otherwise than its line; take them into `entries`.

    A change can uncover what an older entry claims, so it goes on until line and gallery agree.

    Args:
        entries: What the line holds.
        places: What the gallery holds.
        station: The station's name.
        picture: Describes a picture, by its SHA-256.
        moment: When a key was last changed here, in milliseconds since 1970.

    Returns:
        The new entries, one a key; those that take things away come last.
    """
    changed: dict[str, Entry] = {}
    held = _by_key(places)
    while differing := _differing(places_of(entries), places):
        for key, label in differing.items():
            known, ms = entries.get(key), moment(key)
            mine = [(sha, places[sha][0]) for sha in held.get(key, ())]
            entries[key] = changed[key] = Entry(
                key=key,
                label=label,
                clock=Clock(ms=ms) if known is None else known.clock.next(ms),
                station=station,
                snapshots=tuple(picture(sha) for sha, kind in mine if kind == "add"),
                negatives=tuple(picture(sha) for sha, kind in mine if kind == "negative"),
            )
    return sorted(changed.values(), key=lambda entry: not entry.pictures)


def steps_to(current: Places, target: Places) -> list[Step]:
    """Return the events that lead a gallery from one content to another."""
    here = dict(current)
    steps = _renames(here, target)
    steps += _removals(here, target)
    for sha256, place in list(here.items()):
        if target.get(sha256) != place:
            steps.append(Step("drop", place[1], sha256))
            del here[sha256]
    steps += [
        Step(kind, label, sha256) for sha256, (kind, label) in target.items() if sha256 not in here
    ]
    return steps


def _differing(one: Places, other: Places) -> dict[str, str | None]:
    """Return the keys, and their labels, of pictures that are not in the same place in both."""
    return {
        key_of(sha256, place): place[1]
        for sha256 in {**one, **other}
        if one.get(sha256) != other.get(sha256)
        for place in (one.get(sha256), other.get(sha256))
        if place is not None
    }


def _by_key(places: Places) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sha256, place in places.items():
        found.setdefault(key_of(sha256, place), []).append(sha256)
    return found


def _products(places: Places) -> dict[str, frozenset[str]]:
    """Return the snapshots of each product."""
    found: dict[str, set[str]] = {}
    for sha256, (kind, label) in places.items():
        if kind == "add" and label is not None:
            found.setdefault(label, set()).add(sha256)
    return {label: frozenset(hashes) for label, hashes in found.items()}


def _renames(here: Places, target: Places) -> list[Step]:
    """Return renames of products that have all their snapshots under a new name; done in `here`."""
    before, after = _products(here), _products(target)
    new = {hashes: label for label, hashes in after.items() if label not in before}
    steps = []
    for label, hashes in before.items():
        other = new.get(hashes)
        if label not in after and other is not None:
            steps.append(Step("rename", label, argument=other))
            _relabel(here, label, other)
    return steps


def _relabel(here: Places, label: str, other: str) -> None:
    for sha256, (kind, owner) in here.items():
        if owner == label:
            here[sha256] = (kind, other)


def _removals(here: Places, target: Places) -> list[Step]:
    """Return removals of products of which nothing is left; done in `here`."""
    kept = {label for _, label in target.values()}
    gone = [label for label in _products(here) if label not in kept]
    for sha256 in _of(here, gone):
        del here[sha256]
    return [Step("remove", label) for label in gone]


def _of(here: Places, labels: Iterable[str]) -> list[str]:
    wanted = set(labels)
    return [sha256 for sha256, (_, label) in here.items() if label in wanted]
