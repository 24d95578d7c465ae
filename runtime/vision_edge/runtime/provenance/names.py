"""Names and limits that others need without loading what signs and checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SIGNATURE_FILE = "signature.dsse.json"
"""The signature of a folder, in it."""
SUFFIX = ".dsse.json"
"""What the signature of a file is called more than the file, beside which it lies."""
MAX_ENVELOPE = 4 << 20
"""Bytes of a signature's file: thousands of files; read before anything of it is trusted."""
HELD = 2
"""Statements remembered of a name: the one in use, and the one before, to return to."""
Name = Annotated[str, Field(pattern=r"^\w[\w .:+@-]{0,99}$")]
"""Of what is signed, or of a key: letters, digits and a few signs."""
