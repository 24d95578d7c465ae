"""What lies where a safetensors file should, told by its first bytes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError

_POINTER = b"version https://git-lfs.github.com/spec/"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PAGES = (b"<!doctype", b"<html", b"<?xml")
_PART = re.compile(r"-\d{5}-of-(?!00001\b)\d{5}\.")
_LEAST = 8
"""Bytes of the shortest thing that can be a safetensors file: the length of its header."""


def refuse_foreign(path: Path, error: type[VisionEdgeError]) -> None:
    """Raise if a file is plainly something else than a whole safetensors file.

    Args:
        path: Where a file should be.
        error: Class of the error to raise.

    Raises:
        VisionEdgeError: Of the class given, if there is none, for a folder, one of several parts,
            their index, a Git LFS pointer, an empty file, a pickle or zip, or a web page.
    """
    if path.is_dir():
        inside = [e.name for e in path.glob("*.safetensors") if not _PART.search(e.name)]
        raise error(
            f"{path}: a folder, not a safetensors file",
            fix=f"give {path / inside[0]}" if len(inside) == 1 else "give the file in it",
        )
    if not path.is_file():
        raise error(f"{path}: there is no such file", fix="check the path")
    if _PART.search(path.name) or path.name.endswith(".safetensors.index.json"):
        raise error(
            f"{path}: of weights that are split into several files, which are not read",
            fix="save them as one file: save_pretrained(folder, max_shard_size='100GB')",
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError:
        return  # whoever reads it says why it cannot be read
    if start.startswith(_POINTER):
        folder = shlex.quote(str(path.parent))
        raise error(
            f"{path}: a Git LFS pointer, which stands for the file and is not the file itself",
            fix=f"git -C {folder} lfs pull",
        )
    if len(start) < _LEAST:
        what = "empty" if not start else f"only {len(start)} bytes long"
        raise error(f"{path}: {what}, so truncated or corrupt", fix="copy or download it again")
    if start[_LEAST : _LEAST + 1] == b"{":
        return  # a header; its length may begin as a pickle does
    if start.startswith(_PICKLES):
        raise error(
            f"{path}: a PyTorch file (a pickle), not safetensors: reading one may run any program",
            fix="convert it to safetensors where you trust it; other formats are not read",
        )
    if start.lstrip().lower().startswith(_PAGES):
        raise error(
            f"{path}: a web page, not a safetensors file: the download went wrong",
            fix="download it again, logged in where the model asks for that",
        )
