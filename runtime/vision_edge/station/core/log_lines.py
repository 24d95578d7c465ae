"""The log's lines: for people, or one JSON object each for programs."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Literal

LogForm = Literal["text", "json"]
TEXT = "%(asctime)s %(levelname)s %(message)s"


class JsonLines(logging.Formatter):
    """Each line is an object: `time` (UTC), `level`, `logger`, `message`, and `error` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, without a line break in it."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def formatter(form: LogForm) -> logging.Formatter:
    """Return what forms the lines."""
    return JsonLines() if form == "json" else logging.Formatter(TEXT)
