"""The reading side of a gallery: its file, its model, what it holds now and how it came to that."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.database import WAIT_S, Database
from vision_edge.runtime.gallery.history import Contents, Event, State, contents_of
from vision_edge.runtime.gallery.labels import one_form
from vision_edge.runtime.gallery.snapshot_store import SnapshotStore
from vision_edge.runtime.gallery.station_frames import StationFrames

NOTE = "note:"
"""How the names of notes begin in the `meta` table, beside what the file says of its model."""
_Reader = TypeVar("_Reader", bound="GalleryReader")


class GalleryReader:
    """An open gallery, to be read; `Gallery` says what the arguments are.

    It needs no right to write the file, or beside it.
    """

    _writes = False

    def __init__(
        self,
        path: Path | str,
        model: ModelIdentity | None = None,
        *,
        create: bool = False,
        author: str | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        self.path = Path(path)
        self.author = author or _current_user()
        self._expected = model
        self._contents = Contents()
        initial = meta_of(model) if create and model else None
        self._db = Database(self.path, initial, writes=self._writes, wait_s=wait_s)
        self.snapshots = SnapshotStore(self._db)
        self.frames = StationFrames(self._db)
        try:
            self._check_model()
        except GalleryError:
            self._db.close()
            raise

    def __enter__(self: _Reader) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; further calls fail."""
        self._db.close()

    @property
    def model(self) -> ModelIdentity:
        """Identity of the model whose embeddings the gallery answers with."""
        with self._db.consistent():
            return ModelIdentity(self._db.meta("fingerprint"), int(self._db.meta("embedding_dim")))

    @property
    def version(self) -> int:
        """Number of the last event; 0 for an empty gallery."""
        return int(self._db.rows("SELECT coalesce(max(version), 0) FROM events")[0][0])

    @property
    def stamp(self) -> str:
        """What changes whenever the gallery is another: the file, its version and last event.

        The version alone does not tell a file from another that was put in its place.
        """
        last = self._db.rows("SELECT * FROM events ORDER BY version DESC LIMIT 1")
        with self._db.translated():
            file = self.path.stat()
        return f"{file.st_dev}.{file.st_ino} {self.model.fingerprint} {last}"

    def events(self, after: int = 0) -> list[Event]:
        """Return every event of a version above `after`, oldest first."""
        rows = self._db.rows(
            "SELECT version, time, author, kind, label, snapshot, argument "
            "FROM events WHERE version > ? ORDER BY version",
            (after,),
        )
        return [Event(*row) for row in rows]

    def state(self) -> State:
        """Return the snapshot identifiers of each registered product."""
        products = self.contents().products
        return {label: list(ids) for label, ids in products.items()}

    def contents(self) -> Contents:
        """Return products and negatives; what is new since the last call is all that is read.

        Within a transaction, call it before the first change: what a failed transaction appended
        must not be remembered.
        """
        with self._db.consistent():
            new = self.events(self._contents.version)
            if any(event.kind == "rollback" for event in new):
                self._contents = contents_of(self.events())
                return self._contents
            for event in new:
                self._contents.take(event)
        return self._contents

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the gallery throughout a block, whatever others write meanwhile.

        Raises:
            GalleryError: If the gallery belongs to another model by now.
        """
        with self._db.reading():
            self._check_model()
            yield

    def notes(self, prefix: str) -> dict[str, str]:
        """Return what `Gallery.note` kept under names that begin with `prefix`, by name."""
        start = NOTE + prefix
        rows = self._db.rows(
            "SELECT key, value FROM meta WHERE substr(key, 1, ?) = ?", (len(start), start)
        )
        return {key[len(NOTE) :]: value for key, value in rows}

    def prototypes(self, shift: Embeddings | None = None) -> tuple[list[str], Embeddings]:
        """Return the products' labels, and their prototypes float32 (P, D).

        Args:
            shift: float32 (D,), what is added to the embeddings of catalogue pictures.
        """
        with self.reading(), self._db.consistent():
            state, model = self.contents().products, self.model
            vectors = self.snapshots.all_vectors(model)
            if shift is not None:
                vectors.update({i: vectors[i] + shift for i in self.snapshots.catalogue()})
            means = [np.mean([vectors[i] for i in ids], axis=0) for ids in state.values()]
            stacked = np.asarray(means, dtype=np.float32).reshape(-1, model.embedding_dim)
            if not np.isfinite(stacked).all():
                raise ValueError("an embedding is not finite")
        return list(state), stacked

    def product_snapshots(
        self, shift: Embeddings | None = None
    ) -> tuple[list[str], list[Embeddings]]:
        """Return the products' labels, and of each its snapshots' embeddings, float32 (K, D).

        Args:
            shift: float32 (D,), what is added to the embeddings of catalogue pictures.
        """
        with self.reading(), self._db.consistent():
            state, model = self.contents().products, self.model
            vectors = self.snapshots.all_vectors(model)
            if shift is not None:
                vectors.update({i: vectors[i] + shift for i in self.snapshots.catalogue()})
            every = [
                np.asarray([vectors[i] for i in ids], np.float32).reshape(-1, model.embedding_dim)
                for ids in state.values()
            ]
            if not all(np.isfinite(rows).all() for rows in every):
                raise ValueError("an embedding is not finite")
        return list(state), every

    def product_means(self, *, catalogue: bool) -> Embeddings:
        """Return the mean of each product's pictures of one kind: float32 (P', D).

        Args:
            catalogue: Whether of its catalogue pictures, or of all others. Products without any
                are left out.
        """
        with self.reading(), self._db.consistent():
            vectors, known = self.snapshots.all_vectors(self.model), self.snapshots.catalogue()
            kinds = [
                [vectors[i] for i in ids if (i in known) == catalogue]
                for ids in self.contents().products.values()
            ]
            means = [np.mean(kind, axis=0, dtype=np.float32) for kind in kinds if kind]
            return np.asarray(means, np.float32).reshape(-1, self.model.embedding_dim)

    def _check_model(self) -> None:
        """Refuse to go on with another model's gallery; another process may have re-embedded it."""
        model, own = self._expected, self.model
        if model is not None and model != own:
            raise GalleryError(
                f"{self.path}: made by another model (its fingerprint is {own.fingerprint[:12]}…, "
                f"the bundle's {model.fingerprint[:12]}…), so its embeddings cannot be compared",
                fix="run `vision-edge gallery reembed BUNDLE --gallery FILE`, "
                "or give the bundle it was made with",
            )

    def _require_product(self, label: str) -> str:
        """Return a registered product's name in the form that it is kept in."""
        products = self.contents().products
        label = one_form(label)
        if label not in products:
            known = ", ".join(map(repr, list(products)[:10])) or "none"
            raise GalleryError(
                f"{self.path}: there is no product {label!r}", fix=f"registered are: {known}"
            )
        return label


def meta_of(model: ModelIdentity) -> dict[str, str]:
    """Return what a gallery's file says of the model it belongs to."""
    return {"fingerprint": model.fingerprint, "embedding_dim": str(model.embedding_dim)}


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
