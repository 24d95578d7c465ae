"""Pictures in a folder or a zip, told by their content; all else is counted and named by kind."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vision_edge.runtime.errors import DataError
from vision_edge.runtime.images.passed_over import PassedOver
from vision_edge.runtime.images.picture_kinds import HEAD, IMAGE_SUFFIXES, kind_of, readable
from vision_edge.runtime.images.picture_parts import gif_pictures
from vision_edge.runtime.images.zip_names import is_guessed, path_in

_RAW = frozenset(
    [".dng", ".nef", ".arw", ".cr2", ".cr3", ".orf", ".rw2", ".pef", ".raf", ".srw", ".3fr"]
)
MOST_UNPACKED = 128 << 20
"""Bytes that one file of a zip may have: a few megabytes of it can unpack to thousands of times as
many, and all of them would be held. Pictures of 42 million pixels without compression have fewer;
larger ones are read from a folder."""
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class PictureFiles:
    """What was found.

    Attributes:
        files: Pictures' paths below the root, with forward slashes, sorted.
        passed_over: What is no picture that is read.
        notes: What was read although its name says otherwise, and links that were followed.
    """

    files: tuple[str, ...]
    passed_over: PassedOver = field(default_factory=PassedOver)
    notes: PassedOver = field(default_factory=PassedOver)

    def lines(self) -> list[str]:
        """Return what a user has to know, a sentence each; nothing if all was read."""
        told = [f"left out: {self.passed_over.text()}"] if self.passed_over else []
        return told + ([f"taken all the same: {self.notes.text()}"] if self.notes else [])


def pictures_below(root: Path) -> PictureFiles:
    """Find the pictures in a folder or a zip file, whatever its layout.

    Raises:
        DataError: If there is no such folder or zip, or the zip is damaged.
    """
    if root.is_dir():
        return _found(_below(root))
    if not root.exists():
        raise DataError(f"{root}: there is no such folder or zip file", fix="check the path")
    if not zipfile.is_zipfile(root):
        held = _archive_kind(root)
        raise DataError(
            f"{root}: {held}, not a folder and not an intact zip file",
            fix="unpack it, or copy it again" if root.is_file() else "give a folder or a zip",
        )
    try:
        with zipfile.ZipFile(root) as archive:
            return _found(_in_zip(archive))
    except zipfile.BadZipFile as error:
        raise DataError(f"{root}: a damaged zip file ({error})", fix="copy it again") from error


def pictures_among(paths: Iterable[Path]) -> PictureFiles:
    """Tell the pictures among files that were named, as `pictures_below` does."""
    return _found(_Entry(str(path), lambda path=path: _head(path)) for path in paths)  # type: ignore[misc]


@dataclass(frozen=True)
class _Entry:
    """A file, something that is passed over as `kind`, or something taken that is `noted`."""

    name: str
    head: Callable[[], bytes] | None = None
    kind: str | None = None
    noted: str | None = None


def _found(entries: Iterable[_Entry]) -> PictureFiles:
    files: list[str] = []
    folders: set[str] = set()
    passed, notes = PassedOver(), PassedOver()
    for entry in entries:
        if entry.noted is not None:
            notes.add(entry.noted, entry.name)
        elif entry.kind == _FOLDER:
            folders.add(entry.name)
        elif entry.kind is not None or entry.head is None:
            passed.add(entry.kind or "unreadable", entry.name)
        else:
            _tell(entry.name, entry.head, files, passed, notes)
    _count_empty(folders, files, passed)
    return PictureFiles(tuple(sorted(files, key=lambda file: file.split("/"))), passed, notes)


def _tell(
    name: str, head: Callable[[], bytes], files: list[str], passed: PassedOver, notes: PassedOver
) -> None:
    """Take a file for a picture, or count it."""
    suffix = PurePosixPath(name).suffix.lower()
    promised = suffix in IMAGE_SUFFIXES
    try:
        start = head()
    except _BAD_ZIP:
        start = b""
        if not promised:
            passed.add("unreadable", name)
            return
    kind = kind_of(start[:HEAD])
    kind = "camera raw" if suffix in _RAW and kind in ("TIFF", "JPEG") else kind
    kind = "animated GIF" if kind == "GIF" and _moves(start) else kind
    if readable(kind):
        files.append(name)
        if not promised:
            notes.add(f"{kind} named {suffix or 'without a suffix'}", name)
    elif kind is None and promised:
        files.append(name)  # an error when it is read: it says that it is a picture
    else:
        passed.add(kind or (f"{suffix} file" if suffix else "file without a suffix"), name)


def _moves(gif: bytes) -> bool:
    try:
        return gif_pictures(gif) > 1
    except (ValueError, IndexError):
        return False  # damaged: an error when it is read


def _count_empty(folders: set[str], files: list[str], passed: PassedOver) -> None:
    """Name the folders that hold no picture, however deep; of nested ones the outermost."""
    full = {str(parent) for file in files for parent in PurePosixPath(file).parents}
    empty = {folder for folder in folders if folder not in full}
    for folder in sorted(empty):
        if not any(str(parent) in empty for parent in PurePosixPath(folder).parents):
            passed.add("folder without pictures", folder)


_FOLDER = "folder"


def _below(root: Path) -> Iterator[_Entry]:
    """Yield what a folder holds. A link that leads out of the folder is followed, once."""
    inside = root.resolve()
    seen = {_identity(root)}
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield _Entry(_name(folder, root), kind="unreadable folder")
            continue
        for entry in entries:
            path = Path(entry.path)
            name = _name(path, root)
            if _hidden(entry.name):
                yield _Entry(name, kind="hidden")
            elif not _is_folder(entry):
                yield _file(path, name)
            elif entry.is_symlink() and not _leads_out(path, inside, seen):
                yield _Entry(name, kind="link to a folder that is read already")
            else:
                seen.add(_identity(path))
                pending.append(path)
                yield _Entry(name, kind=_FOLDER)
                if entry.is_symlink():
                    yield _Entry(name, noted="linked folder")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder; no if nobody can tell, as of a link to itself or no right to look."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _file(path: Path, name: str) -> _Entry:
    try:
        state = path.stat()
    except OSError as error:
        return _Entry(name, kind="unreadable" if error.errno == errno.EACCES else "broken link")
    if not stat.S_ISREG(state.st_mode):
        return _Entry(name, kind="neither file nor folder")
    return _Entry(name, lambda: _head(path))


def _leads_out(link: Path, inside: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a link leads to a folder that is not read anyway: no circles, nothing twice."""
    target = link.resolve()
    return not (
        target == inside
        or inside in target.parents
        or target in inside.parents
        or _identity(link) in seen
    )


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def zip_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return a zip's entries by their paths below its root, with forward slashes.

    Of several entries of one path the last counts, as it does for those who unpack it.
    """
    return {path_in(info): info for info in archive.infolist()}


def _in_zip(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    folders: set[str] = set()
    entries = zip_entries(archive)
    for info in archive.infolist():
        name = path_in(info)
        kind = _odd(info, name)
        if entries[name] is not info and not name.endswith("/"):
            kind = "earlier file of the same path"
        if kind is not None:
            yield _Entry(name, kind=kind)
            continue
        path = PurePosixPath(name)
        folders.update(str(parent) for parent in path.parents)
        if name.endswith("/"):
            folders.add(str(path))
        else:
            yield _Entry(name, lambda info=info: _zip_head(archive, info))  # type: ignore[misc]
            if is_guessed(info):
                yield _Entry(
                    name, noted="name in a code that the zip does not say, as code page 437"
                )
    yield from (_Entry(folder, kind=_FOLDER) for folder in sorted(folders - {"."}))


def _odd(info: zipfile.ZipInfo, name: str) -> str | None:
    """Return what an entry of a zip is that is not read; None for a file or folder."""
    parts = PurePosixPath(name).parts
    if ".." in parts:
        return "path that leads out of the zip"
    if any(map(_hidden, parts)):
        return "hidden"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "link in a zip"
    if info.flag_bits & 1:
        return "encrypted file"
    return "file that unpacks to more than 128 MiB" if info.file_size > MOST_UNPACKED else None


_JUNK = frozenset(
    (
        "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "@eaDir", "$RECYCLE.BIN",
        "System Volume Information", "lost+found",
    )
)  # fmt: skip
"""What systems put beside a user's files; network drives keep small copies in `@eaDir`."""
_ARCHIVES = (
    (b"\x1f\x8b", "a gzip (tar.gz) archive"), (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"), (b"BZh", "a bzip2 archive"), (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"), (b"PK", "a damaged zip file"),
)  # fmt: skip


def _archive_kind(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return "unreadable"
    if head[257:262] == b"ustar":
        return "a tar archive"
    kind = next((kind for magic, kind in _ARCHIVES if head.startswith(magic)), None)
    return kind or ("an empty file" if not head else "a single file")


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in _JUNK


def _head(path: Path) -> bytes:
    """Return a file's first bytes; all of a GIF, whose pictures have to be counted."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        return head + stream.read(MOST_UNPACKED) if head.startswith(b"GIF8") else head


def _zip_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as stream:
        head = stream.read(HEAD)
        return head + stream.read() if head.startswith(b"GIF8") else head
