"""What the libraries under the wires write to the station's log: warnings, and so many a minute.

asyncua tells of every node that it makes, some thousand lines as a server starts, and writes a
traceback for each peer that breaks the protocol: whoever scans the port would fill the disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

PER_MINUTE = 20
"""Lines of one library that reach the log in a minute; what is beyond is counted and said."""
_WINDOW_S = 60.0


class _Bounded(logging.Handler):
    """Hands records on to the root logger, up to a number a minute."""

    def __init__(self, library: str, clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._library, self._clock = library, clock
        self._lock_counts = threading.Lock()
        self._since, self._count = clock(), 0

    def emit(self, record: logging.LogRecord) -> None:
        with self._lock_counts:
            held = self._next_window()
            self._count += 1
            passes = self._count <= PER_MINUTE
        root = logging.getLogger()
        if held:
            root.warning("%s: %d more lines were left out", self._library, held)
        if passes and record.levelno >= root.getEffectiveLevel():
            root.handle(record)

    def _next_window(self) -> int:
        """Begin a new minute where the last is over; return how many lines it left out."""
        now = self._clock()
        if now - self._since < _WINDOW_S:
            return 0
        held = max(self._count - PER_MINUTE, 0)
        self._since, self._count = now, 0
        return held


def bound_library_log(library: str, clock: Callable[[], float] = time.monotonic) -> None:
    """Keep a library's log lines to warnings, at most `PER_MINUTE` of them a minute.

    A level that the program has set on the library's logger itself stays.

    Args:
        library: Name of its top logger, such as `"asyncua"`.
        clock: Seconds, ever growing.
    """
    logger = logging.getLogger(library)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    if not any(isinstance(handler, _Bounded) for handler in logger.handlers):
        logger.addHandler(_Bounded(library, clock))
    logger.propagate = False
