"""Identifiers of records: unique, and in the order of time as text."""

from __future__ import annotations

import secrets
import threading
import time


class Identifiers:
    """Makes identifiers of 24 hexadecimal digits: milliseconds, a count, and chance.

    Those of one process rise strictly, also when the clock is set back; `after` carries that over
    a restart.

    Args:
        after: An identifier that all are to follow.
    """

    def __init__(self, after: str | None = None) -> None:
        self._lock = threading.Lock()
        self._last = int(after[:16], 16) if after else 0
        self._own = secrets.token_hex(4)

    def new(self) -> str:
        """Return the next identifier; from any thread."""
        with self._lock:
            now = (time.time_ns() // 1_000_000) << 16
            self._last = max(now, self._last + 1)
            return f"{self._last:016x}{self._own}"
