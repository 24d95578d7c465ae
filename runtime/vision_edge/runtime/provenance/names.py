"""Names and limits that others need without loading what signs and checks."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

SIGNATURE_FILE = "signature.dsse.json"
"""The signature of a folder, in it."""
SUFFIX = ".dsse.json"
"""What the signature of a file is called more than the file, beside which it lies."""
MAX_ENVELOPE = 4 << 20
"""Bytes of a signature's file: thousands of files; read before anything of it is trusted."""
HELD = 2
"""Statements remembered of a name: the one in use, and the one before, to return to."""
_NAME = re.compile(r"\w[\w .:+@-]{0,99}")


def _named(name: str) -> str:
    """Refuse what is no name; pydantic's patterns take 30 ms for this one at each start."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("use 1 to 100 letters, digits, spaces and . : + @ -")
    return name


Name = Annotated[str, AfterValidator(_named)]
"""Of what is signed, or of a key: letters, digits and a few signs."""
