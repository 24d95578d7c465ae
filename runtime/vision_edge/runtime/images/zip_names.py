"""What the files in a zip are called, by the code that their writer used.

A zip says of a name only whether it is UTF-8, and else nothing. macOS writes UTF-8 and does not say
so, Info-ZIP adds the name once more in UTF-8 (the extra field 0x7075 of PKWARE's APPNOTE, 4.6.9),
and older Windows writes the code page of its country. Python reads all that is not said to be UTF-8
as code page 437, so that a class called "café" comes out as "cafe╠ü".
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib

_SAYS_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_PYTHONS = "cp437"


def path_in(info: zipfile.ZipInfo) -> str:
    """Return an entry's path below the zip's root, with forward slashes; a folder ends with one.

    Some writers put backslashes, or a slash before the path.
    """
    parts = re.split(r"[/\\]+", _decoded(info)[0])
    inner = "/".join(part for part in parts if part not in ("", "."))
    return inner if parts[-1] else f"{inner}/"


def is_guessed(info: zipfile.ZipInfo) -> bool:
    """Whether nobody can tell which code an entry's name is in, so that letters may be wrong."""
    return _decoded(info)[1]


def _decoded(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """Return an entry's name, and whether its code was guessed."""
    name = info.filename
    if info.flag_bits & _SAYS_UTF8 or name.isascii():
        return name, False
    try:
        raw = name.encode(_PYTHONS)
    except UnicodeEncodeError:  # this Python has read the extra field itself
        return name, False
    try:
        return _unicode_path(info.extra, raw) or raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return name, True


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Return the name that Info-ZIP's extra field holds; None if there is none for this name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        held, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(held) > 5:
            version, checksum = struct.unpack_from("<BI", held)
            if version == 1 and checksum == zlib.crc32(raw):
                return held[5:].decode("utf-8")
    return None
