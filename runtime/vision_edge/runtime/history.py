"""A gallery's history: events that are only ever appended, and the state they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One change of a gallery.

    Attributes:
        version: The gallery's version after it.
        time: UTC, ISO 8601.
        author: Who made it.
        kind: `add`, `remove`, `rename`, `rollback` or `reembed`.
        label: The product, where one is concerned.
        snapshot: Identifier of the snapshot added, for `add`.
        argument: The new name, the version rolled back to, or the new model's fingerprint.
    """

    version: int
    time: str
    author: str
    kind: str
    label: str | None
    snapshot: int | None
    argument: str | None


State = dict[str, list[int]]
"""Snapshot identifiers by product, in order of registration."""


def replay(events: Sequence[Event]) -> State:
    """Return the products after `events`, which are all of a gallery's, oldest first."""
    state: State = {}
    for event in _in_effect(events):
        label = event.label or ""
        if event.kind == "add" and event.snapshot is not None:
            state.setdefault(label, []).append(event.snapshot)
        elif event.kind == "remove":
            state.pop(label, None)
        elif event.kind == "rename" and event.argument is not None:
            state[event.argument] = state.pop(label)
    return state


def _in_effect(events: Sequence[Event]) -> list[Event]:
    """Return the events that led to the last state: those that a rollback undid are left out."""
    position = {event.version: index for index, event in enumerate(events)}
    kept: list[Event] = []
    index = len(events) - 1
    while index >= 0:
        event = events[index]
        if event.kind == "rollback":
            index = min(position.get(int(event.argument or 0), -1), index - 1)
            continue
        kept.append(event)
        index -= 1
    return kept[::-1]
