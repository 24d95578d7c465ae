"""Which picture stands for a verdict: that of its own passage, and no other's."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

PASSAGES, HELD = 64, 2
"""Passages of each source that are told apart, and the last ones whose picture is at hand."""

T = TypeVar("T")


@dataclass
class _Noted(Generic[T]):
    first: str
    picture: str | None
    shown: T | None


class PassagePictures(Generic[T]):
    """Tells the picture of the passage that a verdict belongs to; from any thread.

    A source has one passage at a time and its verdicts' identifiers rise, so a verdict belongs to
    the last passage that began no later than it.
    """

    def __init__(self) -> None:
        self._noted: dict[str, deque[_Noted[T]]] = {}
        self._lock = threading.Lock()

    def note(self, source: str, first: str, picture: str | None, shown: T | None) -> None:
        """Note a passage.

        Args:
            source: Whose it is.
            first: The identifier of its first verdict.
            picture: That of the verdict whose picture stands for it; None if there is none.
            shown: What is kept of it if somebody asks.
        """
        with self._lock:
            noted = self._noted.setdefault(source, deque(maxlen=PASSAGES))
            if noted and first <= noted[-1].first:
                return
            noted.append(_Noted(first, picture, shown))
            if len(noted) > HELD:
                noted[-1 - HELD].shown = None

    def of(self, source: str, identifier: str) -> tuple[str | None, T | None]:
        """Return a verdict's picture's identifier, and what is kept of it where at hand."""
        with self._lock:
            for one in reversed(self._noted.get(source, ())):
                if one.first <= identifier:
                    return one.picture, one.shown
        return None, None
