"""A bound on the log: what is said over and over is counted instead."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

_KINDS = 1000


class LogBound(logging.Filter):
    """Passes a few lines of a kind in a period; the first of the next says how many were left out.

    Lines are of a kind if one logger writes them at one level by one template, whatever is filled
    in; libraries, whose lines nobody here chose, are taken as one kind a logger and level.

    Args:
        most: Lines of a kind in a period.
        period: Seconds.
        clock: Seconds, rising.
    """

    def __init__(
        self, most: int = 20, period: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._most, self._period, self._clock = most, period, clock
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        own = record.name.startswith("vision_edge")
        kind = (record.name, record.levelno, str(record.msg) if own else "")
        now = self._clock()
        since, count = self._seen.pop(kind, (now, 0))
        if now - since >= self._period:
            if count > self._most:
                record.msg = f"{record.getMessage()} (and {count - self._most} more before)"
                record.args = ()
            since, count = now, 0
        self._seen[kind] = (since, count + 1)
        while len(self._seen) > _KINDS:
            self._seen.popitem(last=False)
        return count < self._most
