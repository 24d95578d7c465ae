"""Secrets: read from files only, and never shown."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from vision_edge.runtime.errors import VisionEdgeError

_LONGEST = 4096  # bytes


def read_secret(path: Path) -> SecretStr:
    """Return the text of a secret's file, without the line break at its end.

    Raises:
        VisionEdgeError: If it cannot be read, is empty, or is no single line of text.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST + 1).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise VisionEdgeError(
            f"{path}: the secret cannot be read ({reason})",
            fix="check the path, and that the station's user may read the file",
        ) from None
    if not text or len(text.encode()) > _LONGEST or not text.isprintable():
        raise VisionEdgeError(
            f"{path}: this is no secret: it must be one line of 1 to {_LONGEST} bytes",
            fix="write the secret into the file, and nothing else",
        )
    return SecretStr(text)
