"""The audit log: who did what, when, and with which result; JSON lines that are only appended.

Two rings of files, so that noise never pushes evidence out: `audit.jsonl` has deeds, what changed
products, review or the model; `requests.jsonl` has what was refused and what changed nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger(__name__)
DEEDS, REQUESTS = "audit.jsonl", "requests.jsonl"
SESSION = ("POST /api/v1/login", "POST /api/v1/logout")
_MAX_BYTES, _KEPT = 5_000_000, 10


class Heard(Protocol):
    """Who listens to deeds."""

    def __call__(self, who: str, what: str, result: str | int, **details: Any) -> None:
        """Take a deed, at once; called from any thread."""


class _Ring(RotatingFileHandler):
    """Says in a line of the station's log what it could not write, and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        log.error(
            "%s: a line could not be written: %s", Path(self.baseFilename).name, sys.exc_info()[1]
        )


class AuditLog:
    """Appends lines to two files; a full one moves to `.1`, the one before to `.2`, and so on.

    No password, token, cookie or picture is ever written.

    Args:
        folder: Where the files lie; made if there is none.
        max_bytes: Of one file, before it moves.

    Attributes:
        heard: Called with each deed, and each login and logout; None for nobody.
    """

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._deeds = _ring(folder / DEEDS, max_bytes)
        self._requests = _ring(folder / REQUESTS, max_bytes)
        self.heard: Heard | None = None

    def write(self, who: str, what: str, result: str | int, *, deed: bool, **details: Any) -> None:
        """Append one line, flushed at once; from any thread.

        Args:
            who: The user, or `-` for nobody known.
            what: The action, such as `POST /api/v1/products`.
            result: The status, or a word.
            deed: Whether something was changed. What was not is no evidence: of its lists only
                the lengths are written.
            details: JSON values.
        """
        if self.heard is not None and (deed or what in SESSION):
            self.heard(who, what, result, **details)
        told = details if deed else {name: _brief(value) for name, value in details.items()}
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "who": who,
            "what": what,
            "result": result,
            **told,
        }
        ring = self._deeds if deed else self._requests
        ring.info("%s", json.dumps(line, ensure_ascii=False, default=str))

    def close(self) -> None:
        """Close the files."""
        for ring in (self._deeds, self._requests):
            for handler in ring.handlers:
                _close(handler, ring.name)


def _close(handler: logging.Handler, name: str) -> None:
    try:
        handler.close()
    except OSError as error:  # a full disk: what waits for it is lost now
        log.error("%s lacks its last lines: %s", name, error)


def _ring(path: Path, max_bytes: int) -> logging.Logger:
    logger = logging.Logger(path.stem, logging.INFO)
    logger.addHandler(_Ring(path, "a", max_bytes, _KEPT, encoding="utf-8"))
    return logger


def _brief(value: Any) -> Any:
    return len(value) if isinstance(value, list | tuple) else value
