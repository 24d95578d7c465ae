"""Identifiers of records: unique, and in the order of their making as text."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

_AHEAD = 600_000 << 16
"""What is reserved at once: as many identifiers as ten minutes have."""
RUN_DIGITS = 8


class Identifiers:
    """Makes identifiers of 24 hexadecimal digits: milliseconds, a count, and the run's own chance.

    They rise strictly, also when the clock is set back; `after` and `reserve` carry that over a
    restart, whatever the clock says then and however the last run ended.

    Args:
        after: An identifier that all are to follow.
        reserve: Called with one that none exceeds until it is called again; it must keep it.

    Attributes:
        run: What all of this run end with; order tells nothing about another run's.
    """

    def __init__(
        self, after: str | None = None, reserve: Callable[[str], object] | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._last = int(after[:16], 16) if after else 0
        self._reserved, self._reserve = 0, reserve
        self.run = secrets.token_hex(RUN_DIGITS // 2)

    def new(self) -> str:
        """Return the next identifier; from any thread."""
        with self._lock:
            now = (time.time_ns() // 1_000_000) << 16
            self._last = max(now, self._last + 1)
            if self._reserve is not None and self._last > self._reserved:
                self._reserved = self._last + _AHEAD
                self._reserve(f"{self._reserved:016x}{self.run}")
            return f"{self._last:016x}{self.run}"

    def of_this_run(self, identifier: str) -> bool:
        """Whether an identifier was made here, so that its order tells what came after it."""
        return identifier[-RUN_DIGITS:] == self.run
