"""Wires: how a station tells the plant, and how the plant tells the station.

A wire never slows a verdict down: `verdict` only queues, and what cannot be delivered now is kept
or counted, as the wire's kind allows. Each wire runs its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from vision_edge.runtime.errors import VisionEdgeError

Record = dict[str, Any]
"""A verdict as JSON values: `Verdict.document()` and `id` (unique, sortable by time), `station`."""

WireState = Literal["ok", "connecting", "down"]


@dataclass(frozen=True)
class WireHealth:
    """How a wire is doing.

    Attributes:
        name: The wire, such as `"mqtt"`.
        state: `"ok"`, `"connecting"` (it retries) or `"down"` (it needs a person).
        detail: One sentence for a person; never a credential.
        queued: Verdicts that wait to be delivered.
        dropped: Verdicts given up since the start.
    """

    name: str
    state: WireState
    detail: str
    queued: int = 0
    dropped: int = 0


def _nothing_is_expected(source: str, product: str | None, unregistered: bool) -> None:
    raise VisionEdgeError(f"{source!r} takes no expected product", fix="start the station")


def _counts_nothing(wire: str) -> None:
    raise VisionEdgeError(f"nothing counts here that {wire} could reset", fix="ask a station")


@dataclass(frozen=True)
class Commands:
    """What a wire may ask of its station.

    Attributes:
        trigger: Judge a part now: at the named source, or at all of them (None). Raises
            `VisionEdgeError` for an unknown name.
        expect: Have a source show a product from now on: the source, the product (None to identify
            every part), and whether one that is not registered is taken all the same, so that
            every part is unsure. Raises `VisionEdgeError` with why it cannot be.
        reset_counts: Begin to count parts anew, in the name of a wire. Raises `VisionEdgeError`
            if that cannot be written.
    """

    trigger: Callable[[str | None], None]
    expect: Callable[[str, str | None, bool], None] = _nothing_is_expected
    reset_counts: Callable[[str], None] = _counts_nothing


class Wire(Protocol):
    """One way out of the station, and perhaps back in."""

    @property
    def name(self) -> str:
        """What to call it on the page and in the metrics."""

    def start(self, commands: Commands) -> None:
        """Start its thread; a peer that is away is no error."""

    def verdict(self, record: Record) -> None:
        """Take one verdict for delivery, at once; called from any thread."""

    def health(self) -> WireHealth:
        """Return how it is doing, at once."""

    def close(self) -> None:
        """Deliver what can be delivered within two seconds, keep the rest, and stop."""


@runtime_checkable
class StateWire(Wire, Protocol):
    """A wire that also tells how the sources are."""

    def state(self, source: str, status: Record) -> None:
        """Take a source's status, whenever it changes, at once; called from any thread.

        Args:
            source: The source's name.
            status: JSON values; `state` says it in a word.
        """


@runtime_checkable
class CountsWire(Wire, Protocol):
    """A wire that also tells how many parts there were."""

    def counts(self, document: Record) -> None:
        """Take the counts after a change, at most once a second; called from any thread.

        Args:
            document: JSON values, as `GET counts` answers.
        """
