"""A gallery's history: events that are only ever appended, and the state they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vision_edge.runtime.gallery.labels import one_form


@dataclass(frozen=True)
class Event:
    """One change of a gallery.

    Attributes:
        version: The gallery's version after it.
        time: UTC, ISO 8601.
        author: Who made it.
        kind: `add`, `negative`, `drop`, `remove`, `rename`, `rollback`, `reembed`, or `import`,
            which changes nothing itself: what came in follows it.
        label: The product, where one is concerned.
        snapshot: Identifier of the snapshot, for `add`, `negative` and `drop`.
        argument: The new name, the version rolled back to, the new model's fingerprint, or the
            imported archive's hash.
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


@dataclass
class Contents:
    """What a gallery holds after its events so far.

    Attributes:
        products: Snapshots by product.
        negatives: By snapshot: the product that it is not, or None if it is no product at all.
        version: Of the last event taken in; 0 before the first.
    """

    products: State = field(default_factory=dict)
    negatives: dict[int, str | None] = field(default_factory=dict)
    version: int = 0

    def take(self, event: Event) -> None:
        """Take in one event that is no rollback."""
        event = _in_one_form(event)
        label, snapshot, new = event.label or "", event.snapshot, event.argument
        if event.kind == "add" and snapshot is not None:
            self.products.setdefault(label, []).append(snapshot)
        elif event.kind == "negative" and snapshot is not None:
            self.negatives[snapshot] = event.label
        elif event.kind == "drop" and snapshot is not None:
            self._drop(label, snapshot)
        elif event.kind == "remove":
            self.products.pop(label, None)
            self.negatives = {k: v for k, v in self.negatives.items() if v != label}
        elif event.kind == "rename" and new is not None:
            self.products[new] = self.products.pop(label) + self.products.pop(new, [])
            self.negatives = {k: new if v == label else v for k, v in self.negatives.items()}
        self.version = event.version

    def owners(self) -> dict[int, str]:
        """Return each snapshot's product."""
        return {i: label for label, ids in self.products.items() for i in ids}

    def places(self) -> dict[int, tuple[str, str | None]]:
        """Return what each snapshot is: `add` or `negative`, and of which product."""
        added = {i: ("add", label) for i, label in self.owners().items()}
        return {**added, **{i: ("negative", label) for i, label in self.negatives.items()}}

    def _drop(self, label: str, snapshot: int) -> None:
        """Forget one snapshot; a product without any is gone."""
        if self.negatives.pop(snapshot, ...) is not ...:
            return
        self.products[label].remove(snapshot)
        if not self.products[label]:
            del self.products[label]


def _in_one_form(event: Event) -> Event:
    """Return an event whose names are in one form: older galleries hold them as they were typed."""
    new = event.argument
    if event.kind == "rename" and new is not None:
        new = one_form(new)
    label = None if event.label is None else one_form(event.label)
    return (
        event
        if (label, new) == (event.label, event.argument)
        else replace(event, label=label, argument=new)
    )


def contents_of(events: Sequence[Event]) -> Contents:
    """Return what a gallery holds after `events`, which are all of its, oldest first."""
    contents = Contents()
    for event in _in_effect(events):
        contents.take(event)
    contents.version = events[-1].version if events else 0
    return contents


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
