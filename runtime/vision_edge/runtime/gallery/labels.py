"""Products' names: any printable text of a sensible length."""

from __future__ import annotations

import unicodedata

from vision_edge.runtime.errors import GalleryError

MAX_LABEL = 200
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories no label may hold: control and format characters, surrogates, line ends."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian words and family emoji need; no others are let in."""


def checked_label(label: str) -> str:
    """Return a product's name without surrounding white space.

    Raises:
        GalleryError: If it is empty, too long, or holds control characters.
    """
    label = label.strip()
    forbidden = any(
        unicodedata.category(character) in _FORBIDDEN and character not in _JOINERS
        for character in label
    )
    if not label or len(label) > MAX_LABEL or forbidden:
        raise GalleryError(
            f"{label[:40]!r} cannot be a product's name",
            fix=f"use 1 to {MAX_LABEL} printable characters",
        )
    return label
