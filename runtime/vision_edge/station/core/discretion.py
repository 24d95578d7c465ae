"""What is told outside names no folder of this machine."""

from __future__ import annotations

import re

_PATH = re.compile(r"""(?<![\w:/.])/(?:[^\s/'",;:()]+/)+([^\s/'",;:()]*)""")


def without_folders(text: str, *known: str) -> str:
    """Return a text in which absolute paths are only their last part.

    Args:
        text: Of an error or a note; addresses of streams stay as they are.
        known: Paths that may hold spaces, and so cannot be told from the words around them.
    """
    for path in sorted(filter(None, known), key=len, reverse=True):
        if path.startswith("/"):
            text = text.replace(path, path.rstrip("/").rpartition("/")[2])
    return _PATH.sub(lambda found: found[1] or "a folder", text)
