"""Snapshots in a gallery's file: JPEG bytes, each kept once, and their embeddings by model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.database import Database
from vision_edge.runtime.images.catalogue import is_catalogue
from vision_edge.runtime.images.coding import decode_image


@dataclass(frozen=True)
class Snapshot:
    """An image to register.

    Attributes:
        jpeg: Its bytes.
        embedding: float32 (D,).
        origin: Where it came from.
        patches: float32 (T, D), unit rows, where the model gives any.
    """

    jpeg: bytes
    embedding: Embeddings
    origin: str
    patches: Patches | None = None


Embed = Callable[[bytes, str], Snapshot]
"""Makes a snapshot of a picture as a gallery keeps it: its JPEG bytes, and where it came from."""


@dataclass(frozen=True)
class SnapshotFile:
    """A kept snapshot: the hash and the number of its JPEG's bytes, and where it came from."""

    sha256: str
    bytes: int
    origin: str


class SnapshotStore:
    """The snapshots of a gallery; what changes it runs within the caller's transaction.

    Args:
        db: The gallery's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def store(self, snapshot: Snapshot, model: ModelIdentity) -> int:
        """Keep a snapshot and its embedding; the same image is kept once. Return its identifier.

        Raises:
            GalleryError: If the embedding is of the wrong length or not finite.
        """
        digest = hashlib.sha256(snapshot.jpeg).hexdigest()
        self._db.rows(
            "INSERT OR IGNORE INTO snapshots (sha256, jpeg, origin) VALUES (?, ?, ?)",
            (digest, snapshot.jpeg, snapshot.origin),
        )
        [(identifier,)] = self._db.rows("SELECT id FROM snapshots WHERE sha256 = ?", (digest,))
        if is_catalogue(snapshot.jpeg):
            self._db.add_table("catalogue")
            self._db.rows("INSERT OR IGNORE INTO catalogue VALUES (?)", (identifier,))
        self.store_vectors(identifier, snapshot, model, snapshot.origin)
        return int(identifier)

    def find(self, sha256: str) -> int | None:
        """Return the identifier of the snapshot with that hash, if the gallery ever held it."""
        rows = self._db.rows("SELECT id FROM snapshots WHERE sha256 = ?", (sha256,))
        return int(rows[0][0]) if rows else None

    def catalogue(self) -> set[int]:
        """Return which snapshots are catalogue pictures."""
        if not self._db.has_table("catalogue"):
            return set()
        return {identifier for (identifier,) in self._db.rows("SELECT snapshot FROM catalogue")}

    def files(self) -> dict[int, SnapshotFile]:
        """Return what every snapshot's file is, by identifier; no picture is read."""
        rows = self._db.rows("SELECT id, sha256, length(jpeg), origin FROM snapshots")
        return {identifier: SnapshotFile(*row) for identifier, *row in rows}

    def store_vectors(
        self, identifier: int, snapshot: Snapshot, model: ModelIdentity, origin: str
    ) -> None:
        """Keep the embedding of a snapshot by a model, and its patches as float16.

        Raises:
            GalleryError: If one is of the wrong length or not finite.
        """
        vector, patches = snapshot.embedding, snapshot.patches
        if vector.shape != (model.embedding_dim,) or not np.isfinite(vector).all():
            raise GalleryError(
                f"{origin}: an embedding of this gallery is finite float32 "
                f"({model.embedding_dim},); got {vector.dtype} {vector.shape}"
            )
        self._db.rows(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
            (identifier, model.fingerprint, np.ascontiguousarray(vector, dtype="<f4").tobytes()),
        )
        if patches is None:
            return
        if patches.shape[1:] != (model.embedding_dim,) or not np.isfinite(patches).all():
            raise GalleryError(
                f"{origin}: patches of this gallery are finite float32 (T, {model.embedding_dim}); "
                f"got {patches.dtype} {patches.shape}"
            )
        self._db.add_table("patches")
        self._db.rows(
            "INSERT OR REPLACE INTO patches VALUES (?, ?, ?)",
            (identifier, model.fingerprint, np.ascontiguousarray(patches, dtype="<f2").tobytes()),
        )

    def all_patches(self, model: ModelIdentity, count: int) -> dict[int, Patches]:
        """Return the patches by a model of every snapshot that has any: float16 (count, D)."""
        if not self._db.has_table("patches"):
            return {}
        rows = self._db.rows(
            "SELECT snapshot, vectors FROM patches WHERE fingerprint = ?", (model.fingerprint,)
        )
        with self._db.consistent():
            return {
                snapshot: np.frombuffer(vectors, "<f2").reshape(count, model.embedding_dim)
                for snapshot, vectors in rows
            }

    def all_vectors(self, model: ModelIdentity) -> dict[int, Embeddings]:
        """Return every snapshot's embedding by a model, float32 (D,)."""
        rows = self._db.rows(
            "SELECT snapshot, vector FROM embeddings WHERE fingerprint = ?", (model.fingerprint,)
        )
        with self._db.consistent():
            return {snapshot: np.frombuffer(vector, "<f4") for snapshot, vector in rows}

    def vectors(self, snapshots: Sequence[int], model: ModelIdentity) -> Embeddings:
        """Return the embeddings of snapshots by a model, float32 (N, D), in order.

        Raises:
            GalleryError: If one has none.
        """
        sql = "SELECT vector FROM embeddings WHERE snapshot = ? AND fingerprint = ?"
        with self._db.consistent():
            found = [self._db.rows(sql, (i, model.fingerprint)) for i in snapshots]
            vectors = [np.frombuffer(rows[0][0], "<f4") for rows in found if rows]
            if len(vectors) != len(snapshots):
                raise ValueError("a snapshot has no embedding")
            return np.asarray(vectors, np.float32).reshape(-1, model.embedding_dim)

    def origin(self, snapshot: int) -> str:
        """Return where a snapshot came from.

        Raises:
            GalleryError: If there is no such snapshot.
        """
        return str(self._column("origin", snapshot))

    def jpeg(self, snapshot: int) -> bytes:
        """Return a snapshot's JPEG, byte for byte as it was registered.

        Raises:
            GalleryError: If there is no such snapshot.
        """
        jpeg = self._column("jpeg", snapshot)
        assert isinstance(jpeg, bytes)
        return jpeg

    def image(self, snapshot: int) -> Image:
        """Return a snapshot's image: uint8 (H, W, 3), BGR.

        Raises:
            GalleryError: If there is no such snapshot.
            ImageError: If it cannot be decoded.
        """
        name = f"{self._db.path}, snapshot {snapshot}"
        return decode_image(self.jpeg(snapshot), name, damaged_too=True)

    def _column(self, name: str, snapshot: int) -> str | bytes:
        sql = {
            "jpeg": "SELECT jpeg FROM snapshots WHERE id = ?",
            "origin": "SELECT origin FROM snapshots WHERE id = ?",
        }[name]
        rows = self._db.rows(sql, (snapshot,))
        if not rows:
            raise GalleryError(f"{self._db.path}: there is no snapshot {snapshot}")
        value: str | bytes = rows[0][0]
        return value
