"""Products' names: any printable text of a sensible length, in which nothing is hidden."""

from __future__ import annotations

import unicodedata

from vision_edge.runtime.errors import GalleryError

MAX_LABEL = 200
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories no label may hold: control and format characters, surrogates, line ends."""
_JOINERS = frozenset("\u200c\u200d")
"""What Persian words and family emoji need between characters that are not ASCII."""
_STYLES = frozenset("\ufe0e\ufe0f")
"""What makes the character before it text or emoji."""
_KEYCAP = "\u20e3"
_INVISIBLE = frozenset(
    [*"\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0"]
    + [chr(code) for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
       for code in range(first, last + 1)]
) - _STYLES  # fmt: skip
"""Characters of other categories that nobody sees (Unicode's Default_Ignorable_Code_Point, and the
empty Braille pattern): two names that differ in them alone would look the same."""


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
        GalleryError: If it is empty, too long, holds control or invisible characters, or says
            "unknown".
    """
    label = one_form(label)
    if unicodedata.normalize("NFKC", label).casefold() == UNKNOWN:
        raise GalleryError(
            f"{label!r} cannot be a product's name: verdicts say so of what is no product",
            fix="choose another name; to register what is no product, use --negative",
        )
    if (
        not label
        or len(label) > MAX_LABEL
        or any(map(_is_hidden, " " + label, label, label[1:] + " "))
    ):
        raise GalleryError(
            f"{label[:40]!r} cannot be a product's name",
            fix=f"use 1 to {MAX_LABEL} printable characters",
        )
    return label


def _is_hidden(before: str, character: str, after: str) -> bool:
    """Whether a character shows nothing, so that names with and without it look the same."""
    if character in _JOINERS:
        return before.isascii() or after.isascii()
    if character in _STYLES:
        return before.isascii() and after != _KEYCAP
    return character in _INVISIBLE or unicodedata.category(character) in _FORBIDDEN
