"""A gallery's archive: a plain zip, nothing compressed, every member hashed in `manifest.json`.

Its members are the manifest, `embeddings.npy` (float32 (N, D)) and `snapshots/<sha256>.jpg`, the
JPEGs byte for byte. Names are compared, never used as paths: reading touches no other file.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.manifest import FileInfo
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.archive_manifest import (
    ArchiveManifest,
    NegativeInfo,
    ProductInfo,
    SnapshotInfo,
    sha256_of,
)
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.picture_header import jpeg_size
from vision_edge.runtime.system.files import atomic_file, copy_regular, sha256_file

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance, Signed

MANIFEST, EMBEDDINGS = "manifest.json", "embeddings.npy"
MAX_MANIFEST = 256 << 20
MAX_ARCHIVE = 1 << 40
"""Bytes of a signed archive that is copied to be checked; the disk says it sooner."""
_DATE = (1980, 1, 1, 0, 0, 0)  # the same gallery makes the same bytes
_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, RuntimeError,
)  # fmt: skip


class Archive:
    """An archive that was verified, open for reading. `open_archive` makes one.

    Attributes:
        manifest: What it holds.
        sha256: Of the archive's file.
        signed: Who has signed it, where that was checked.
    """

    def __init__(
        self,
        members: _Members,
        manifest: ArchiveManifest,
        sha256: str,
        signed: Signed | None = None,
    ) -> None:
        self.manifest = manifest
        self.sha256 = sha256
        self.signed = signed
        self._members = members
        self._rows = {info.sha256: row for row, info in enumerate(manifest.snapshots)}
        self._vectors = _read_embeddings(
            members.verified(EMBEDDINGS, manifest.embeddings), manifest
        )

    def snapshot(self, sha256: str) -> Snapshot:
        """Return a snapshot; its bytes are checked again as they are read.

        Raises:
            GalleryError: If it is not what it was.
        """
        row = self._rows[sha256]
        info = self.manifest.snapshots[row]
        jpeg = self._members.verified(member_of(sha256), FileInfo(sha256=sha256, bytes=info.bytes))
        return Snapshot(jpeg, self._vectors[row], info.origin)


class _Members:
    """The members of a zip file; each is read only if it is stored, and of the size expected."""

    def __init__(self, path: Path, file: zipfile.ZipFile, size: int) -> None:
        self._path = path
        self._file = file
        infos = file.infolist()
        self.infos = {info.filename: info for info in infos}
        if len(self.infos) < len(infos):
            raise self._refusal("a member is there twice")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise self._refusal(f"{info.filename[:100]!r} is compressed")
        if sum(info.file_size for info in infos) > size:
            raise self._refusal("its members are larger than the archive")

    def read(self, name: str, limit: int) -> bytes:
        """Return a member of at most `limit` bytes."""
        info = self.infos.get(name)
        if info is None:
            raise self._refusal(f"{name} is missing")
        if info.file_size > limit:
            raise self._refusal(f"{name} has {info.file_size} bytes, over the limit of {limit}")
        try:
            return self._file.read(info)
        except _UNREADABLE as error:
            raise self._refusal(f"{name} is altered or damaged ({error})") from error

    def verified(self, name: str, expected: FileInfo) -> bytes:
        """Return a member that is of the size and hash expected."""
        data = self.read(name, expected.bytes)
        if len(data) != expected.bytes or sha256_of(data) != expected.sha256:
            raise self._refusal(
                f"{name} is altered or damaged: {len(data)} bytes with SHA-256 "
                f"{sha256_of(data)[:12]}…, the manifest says {expected.bytes} bytes with "
                f"{expected.sha256[:12]}…"
            )
        return data

    def refuse_strangers(self, known: set[str]) -> None:
        """Refuse members that the manifest does not list."""
        strangers = sorted(set(self.infos) - known)
        if strangers:
            raise self._refusal(f"{strangers[0][:100]!r} is not listed in its manifest")

    def _refusal(self, what: str) -> GalleryError:
        return GalleryError(
            f"{self._path}: {what}", fix="copy the archive again, or export it again"
        )


@contextmanager
def open_archive(
    path: Path, provenance: Provenance | None = None, *, beside: Path | None = None
) -> Iterator[Archive]:
    """Open an archive and verify all of it: every member's hash, every picture, the embeddings.

    Args:
        path: The archive.
        provenance: Whose signature it must bear, checked before a byte of it is parsed: it is
            copied as it is hashed, and the copy is what is read, whoever changes the archive.
        beside: Where that copy lies for the time, in the same folder; default: the system's
            temporary folder.

    Raises:
        GalleryError: If anything in it is missing, altered, left over or of an unknown version.
        ImageError: If a snapshot is no picture.
        ProvenanceError: If it is not signed by whom is trusted, or is too old.
    """
    with _checked_file(path, provenance, beside) as (read, signed), _zip_file(path, read) as file:
        members = _Members(path, file, read.stat().st_size)
        manifest = ArchiveManifest.from_bytes(
            members.read(MANIFEST, MAX_MANIFEST), f"{path}, {MANIFEST}"
        )
        names = {member_of(info.sha256) for info in manifest.snapshots}
        members.refuse_strangers({MANIFEST, EMBEDDINGS, *names})
        archive = Archive(members, manifest, sha256_file(read), signed)
        for info in manifest.snapshots:
            _check_picture(archive.snapshot(info.sha256).jpeg, f"{path}, {member_of(info.sha256)}")
        yield archive


def write_archive(gallery: GalleryReader, path: Path) -> ArchiveManifest:
    """Write what a gallery holds now as an archive, atomically.

    Raises:
        GalleryError: If there is a file at `path` already, or it cannot be written.
        ImageError: If a snapshot is no sound picture: no import would take it.
    """
    with gallery.reading():
        manifest, identifiers, vectors = _described(gallery)
        try:
            if path.exists():
                raise GalleryError(
                    f"{path} exists already, and is not overwritten", fix="give a new name"
                )
            with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
                _put(file, MANIFEST, manifest.to_bytes())
                _put(file, EMBEDDINGS, vectors)
                for info, identifier in zip(manifest.snapshots, identifiers, strict=True):
                    jpeg = gallery.snapshots.jpeg(identifier)
                    _check_picture(jpeg, f"{gallery.path}, snapshot {identifier}")
                    _put(file, member_of(info.sha256), jpeg)
        except OSError as error:
            raise GalleryError(
                f"{path}: cannot be written ({error.strerror})",
                fix="check the path, and that the disk is not full",
            ) from error
    return manifest


def member_of(sha256: str) -> str:
    """Return the name of the member that holds a snapshot."""
    return f"snapshots/{sha256}.jpg"


@contextmanager
def _checked_file(
    path: Path, provenance: Provenance | None, beside: Path | None
) -> Iterator[tuple[Path, Signed | None]]:
    """Yield what to read: the archive, or a copy whose signature was checked, and whose it is."""
    if provenance is None:
        yield path, None
        return
    with _private_folder(path, beside) as private:
        copy = private / "archive"
        try:
            digest = copy_regular(path.resolve(), copy, MAX_ARCHIVE)
        except OSError as error:
            raise _uncopied(path, error) from error
        yield copy, provenance.hashed(path, "gallery", digest)


@contextmanager
def _private_folder(path: Path, beside: Path | None) -> Iterator[Path]:
    folder = None if beside is None else beside.absolute().parent
    try:
        private = tempfile.TemporaryDirectory(prefix=".vision-edge-", dir=folder)
    except OSError as error:
        raise _uncopied(path, error) from error
    with private as name:
        yield Path(name)


def _uncopied(path: Path, error: OSError) -> GalleryError:
    return GalleryError(
        f"{path}: cannot be read or copied ({error.strerror or error})",
        fix="check the path, and the room on the gallery's disk",
    )


@contextmanager
def _zip_file(path: Path, read: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if read.exists() and not read.is_file():  # a FIFO would be waited for
            raise ValueError("it is no file")
        file = zipfile.ZipFile(read)
    except _UNREADABLE as error:
        raise GalleryError(
            f"{path}: not a gallery's archive ({error})",
            fix="give a file that `vision-edge gallery export` wrote",
        ) from error
    with file:
        yield file


def _check_picture(jpeg: bytes, name: str) -> None:
    """Refuse what is no JPEG, or one of too many pixels, before a decoder sees it; then decode."""
    if jpeg_size(jpeg) is None:
        raise GalleryError(
            f"{name}: not a JPEG", fix="drop that snapshot from its gallery, and export again"
        )
    decode_image(jpeg, name)


def _put(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    file.writestr(zipfile.ZipInfo(name, _DATE), data)


def _described(gallery: GalleryReader) -> tuple[ArchiveManifest, list[int], bytes]:
    """Return a gallery's manifest, its snapshots' identifiers, and its embeddings' member."""
    contents, store, model = gallery.contents(), gallery.snapshots, gallery.model
    identifiers = [*contents.owners(), *contents.negatives]
    jpegs = ((i, store.jpeg(i)) for i in identifiers)
    infos = {
        i: SnapshotInfo(sha256=sha256_of(jpeg), bytes=len(jpeg), origin=store.origin(i)[:10_000])
        for i, jpeg in jpegs
    }
    vectors = _npy(store.vectors(identifiers, model))
    manifest = ArchiveManifest(
        fingerprint=model.fingerprint,
        embedding_dim=model.embedding_dim,
        version=gallery.version,
        products=tuple(
            ProductInfo(label=label, snapshots=tuple(infos[i].sha256 for i in ids))
            for label, ids in contents.products.items()
        ),
        negatives=tuple(
            NegativeInfo(snapshot=infos[i].sha256, label=label)
            for i, label in contents.negatives.items()
        ),
        snapshots=tuple(infos.values()),
        embeddings=FileInfo(sha256=sha256_of(vectors), bytes=len(vectors)),
    )
    return manifest, identifiers, vectors


def _npy(vectors: Embeddings) -> bytes:
    stream = io.BytesIO()
    array = np.ascontiguousarray(vectors, "<f4")
    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _read_embeddings(data: bytes, manifest: ArchiveManifest) -> Embeddings:
    """Return the embeddings, float32 (N, D); nothing is allocated on the header's word."""
    shape = (len(manifest.snapshots), manifest.embedding_dim)
    try:
        stream = io.BytesIO(data)
        magic = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0(stream)
        vectors = np.frombuffer(data, "<f4", offset=stream.tell())
    except ValueError as error:
        raise GalleryError(f"{EMBEDDINGS}: {error}", fix="export it again") from error
    wanted = (shape, False, np.dtype("<f4"))
    if magic != (1, 0) or header != wanted or vectors.size != shape[0] * shape[1]:
        raise GalleryError(
            f"{EMBEDDINGS}: expected float32 {shape}, got {header[2]} {header[0]}",
            fix="export it again",
        )
    if not np.isfinite(vectors).all():
        raise GalleryError(f"{EMBEDDINGS}: not all values are finite", fix="export it again")
    return vectors.reshape(shape)
