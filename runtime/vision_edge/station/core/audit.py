"""The audit log: who did what, when, and with which result; JSON lines that are only appended."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

_MAX_BYTES, _KEPT = 5_000_000, 10


class AuditLog:
    """Appends lines to a file; a full one moves to `.1`, the one before to `.2`, and so on.

    No password, token, cookie or picture is ever written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(path, "a", _MAX_BYTES, _KEPT, encoding="utf-8")
        self._logger = logging.Logger("audit", logging.INFO)
        self._logger.addHandler(self._handler)

    def write(self, who: str, what: str, result: str | int, **details: Any) -> None:
        """Append one line, flushed at once; from any thread.

        Args:
            who: The user, or `-` for nobody known.
            what: The action, such as `POST /api/v1/products`.
            result: The status, or a word.
            details: JSON values.
        """
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "who": who,
            "what": what,
            "result": result,
            **details,
        }
        self._logger.info("%s", json.dumps(line, ensure_ascii=False, default=str))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
