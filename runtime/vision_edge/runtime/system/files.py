"""Files: hashes, and writes that are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_regular(path: Path, most: int, size: int | None = None) -> bytes:
    """Return the bytes of a stranger's file: of a regular one, that no link leads to.

    Nothing is waited for (a FIFO), followed (a link), or read that is too large: what is looked at
    is what was opened.

    Args:
        path: The file.
        most: Bytes that it may have at most.
        size: Bytes that it must have; by default any number.

    Raises:
        OSError: If it cannot be read, is no regular file, or of another size.
    """
    with _regular(path, most, size) as (stream, expected):
        data = stream.read(expected + 1)
    if len(data) != expected:
        raise OSError(errno.EIO, "it changed while it was read")
    return data


def copy_regular(path: Path, target: Path, most: int) -> str:
    """Copy a stranger's file as `read_regular` reads it, to a path where there is none.

    Returns:
        The SHA-256 of what was copied, in hexadecimal: whoever opens the copy opens those bytes.

    Raises:
        OSError: If it cannot be read or written, is no regular file, or is larger than `most`.
    """
    digest, left = hashlib.sha256(), most
    with _regular(path, most) as (stream, _), target.open("xb") as copy:
        while chunk := stream.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise OSError(errno.EFBIG, f"more than {most} bytes")
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a stranger's file of any size to be read: a regular one, that no link leads to.

    Raises:
        OSError: If it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield stream


@contextmanager
def _regular(path: Path, most: int, size: int | None = None) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file of a fit size; yield it and its bytes."""
    with open_regular(path) as stream:
        status = os.fstat(stream.fileno())
        if status.st_size > most or (size is not None and status.st_size != size):
            wanted = f"at most {most}" if size is None else str(size)
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, where {wanted} are expected")
        yield stream, status.st_size


def printable(path: Path) -> str:
    """Return a path as text that can be stored and printed: bytes that are no UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def fsync_path(path: Path) -> None:
    """Force a file's or a folder's contents to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _readable_by_others(path: Path) -> None:
    """Give `path` the permissions the user's umask asks for: temporary files are made private."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it vanishes.

    The temporary file keeps the suffix of `path`, since writers choose formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}", dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _readable_by_others(temporary)
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes the place of `path`.

    A folder that was at `path` stays untouched until the new one is complete on the disk.

    Raises:
        NotADirectoryError: If there is a file at `path`.
    """
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, so no folder is written there")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        _readable_by_others(temporary)
        for entry in temporary.rglob("*"):
            fsync_path(entry)
        _swap_folder(temporary, path)
        fsync_path(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap_folder(new: Path, path: Path) -> None:
    """Put `new` at `path`; an old folder there is moved aside first, and back if that fails."""
    if not path.exists():
        new.replace(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".old", dir=path.parent))
    old = aside / path.name
    try:
        path.replace(old)
        new.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
