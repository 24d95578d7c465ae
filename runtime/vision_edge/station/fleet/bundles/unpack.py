"""A bundle's files, out of a zip or a folder: each checked before it is written, none outside.

This runs in the process of an examination, never in the station's own.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path

from vision_edge.runtime.bundles.bundle import MAX_MANIFEST
from vision_edge.runtime.bundles.manifest import MANIFEST_FILE, Manifest
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.provenance.names import MAX_ENVELOPE, SIGNATURE_FILE
from vision_edge.runtime.system.files import copy_regular, read_regular

MAX_FILES = 100
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, RuntimeError,
    NotImplementedError, zlib.error,
)  # fmt: skip


def unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Write an archive's files into an empty folder.

    The files lie at the top of the archive, or all in one folder of it.

    Args:
        archive: A zip file, of stored or deflated members.
        folder: An existing folder.
        max_bytes: Most that they may hold together; what a member says of its size is not trusted.

    Raises:
        BundleError: If it is no such archive, or a member has an unfit name, is a link, encrypted,
            twice there, or too large; what was written by then is left to the caller.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            left = max_bytes
            for name, member in _members(archive, file):
                left -= _write(file, member, folder / name, left, archive)
    except _UNREADABLE as error:
        raise _refusal(archive, f"not a sound zip archive ({error})") from error


def copy_bundle(path: Path, folder: Path, max_bytes: int, manifest: str | None = None) -> None:
    """Copy the files that a bundle's manifest lists, and its signature, into an empty folder.

    Args:
        path: The bundle's folder.
        folder: An existing folder.
        max_bytes: Most that they may hold together.
        manifest: SHA-256 of the manifest as it was signed; None where no signature is required.

    Raises:
        BundleError: If it is no bundle, too large, or one of its files is not a regular one of the
            size that the manifest says; what was written by then is left to the caller.
    """
    try:
        data = read_regular(path / MANIFEST_FILE, MAX_MANIFEST)
    except OSError as error:
        raise BundleError(f"{path}: not a bundle ({error.strerror})", fix="check it") from error
    if manifest is not None and hashlib.sha256(data).hexdigest() != manifest:
        raise BundleError(
            f"{path}: {MANIFEST_FILE} is not the one that was signed", fix="copy it again"
        )
    files = Manifest.from_bytes(data, str(path / MANIFEST_FILE)).files
    if sum(info.bytes for info in files.values()) > max_bytes:
        raise BundleError(f"{path}: larger than max_bundle_mb allows", fix="raise it in [fleet]")
    for name, info in files.items():
        _copy(path / name, folder / name, info.bytes)
    (folder / MANIFEST_FILE).write_bytes(data)
    if os.path.lexists(path / SIGNATURE_FILE):
        _copy(path / SIGNATURE_FILE, folder / SIGNATURE_FILE, MAX_ENVELOPE)


def _copy(path: Path, target: Path, most: int) -> None:
    try:
        copy_regular(path, target, most)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be copied ({error.strerror or error})", fix="export it again"
        ) from error


def _members(archive: Path, file: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the files with the names that they get, all checked."""
    files = [member for member in file.infolist() if not member.is_dir()]
    if not files or len(files) > MAX_FILES:
        raise _refusal(archive, f"it holds {len(files)} files, not 1 to {MAX_FILES}")
    tops = {member.filename.partition("/")[0] for member in files}
    nested = all("/" in member.filename for member in files) and len(tops) == 1
    nested = nested and _NAME.fullmatch(tops.copy().pop()) is not None
    named = []
    for member in files:
        name = member.filename.partition("/")[2] if nested else member.filename
        if _NAME.fullmatch(name) is None:
            raise _refusal(archive, f"{member.filename[:100]!r} cannot be a bundle's file")
        if member.compress_type not in _KINDS or member.flag_bits & 1:
            raise _refusal(archive, f"{name!r} is encrypted, or packed in an unknown way")
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _refusal(archive, f"{name!r} is no plain file")
        named.append((name, member))
    if len({name.casefold() for name, _ in named}) < len(named):
        raise _refusal(archive, "a file is there twice")
    return named


def _write(
    file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, left: int, archive: Path
) -> int:
    """Write one file of at most `left` bytes; return how many it has."""
    size = 0
    with file.open(member) as packed, path.open("xb") as unpacked:
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            if size > left:
                raise _refusal(archive, "unpacked it is larger than max_bundle_mb allows")
            unpacked.write(chunk)
    return size


def _refusal(archive: Path, what: str) -> BundleError:
    return BundleError(
        f"{archive.name}: {what}",
        fix="zip the folder that `vision-edge export` wrote, and give its SHA-256 beside it",
    )
