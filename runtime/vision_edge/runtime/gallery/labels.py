"""Products' names: any printable text of a sensible length."""

from __future__ import annotations

import unicodedata

from vision_edge.runtime.errors import GalleryError

MAX_LABEL = 200
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories no label may hold: control and format characters, surrogates, line ends."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian words and family emoji need; no others are let in."""


UNKNOWN = "unknown"
"""What verdicts say of what is no product, so that no product may be called so."""


def one_form(label: str) -> str:
    """Return a name in Unicode's composed form (NFC) and without white space around it.

    A folder's name from a Mac has its accents apart, a typed one has them within: both are equal
    to the eye, and have to be the same product.
    """
    return unicodedata.normalize("NFC", label).strip()


def checked_label(label: str) -> str:
    """Return a product's name in one form (`one_form`).

    Raises:
        GalleryError: If it is empty, too long, holds control characters, or says "unknown".
    """
    label = one_form(label)
    if unicodedata.normalize("NFKC", label).casefold() == UNKNOWN:
        raise GalleryError(
            f"{label!r} cannot be a product's name: verdicts say so of what is no product",
            fix="choose another name; to register what is no product, use --negative",
        )
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
