"""The number of a session, `bdSeq`, which ties a birth to its death; kept over a restart."""

from __future__ import annotations

import logging
from pathlib import Path

from vision_edge.runtime.system.files import atomic_file

_LOG = logging.getLogger(__name__)


class SessionNumber:
    """Counts connections: 0 to 255, and 0 again (Sparkplug 3.0, section 6.4.25).

    Args:
        path: The file that keeps it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = self._read()

    def next(self) -> int:
        """Return the next connection's number; a disk that fails does not hold it up."""
        self._last = (self._last + 1) % 256
        try:
            with atomic_file(self._path) as temporary:
                temporary.write_text(f"{self._last}\n", encoding="ascii")
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self._path, error)
        return self._last

    def _read(self) -> int:
        try:
            number = int(self._path.read_text(encoding="ascii")[:8])
        except FileNotFoundError:
            return -1
        except (OSError, ValueError) as error:
            _LOG.warning("%s cannot be read (%s): it begins at 0", self._path, error)
            return -1
        return number % 256
