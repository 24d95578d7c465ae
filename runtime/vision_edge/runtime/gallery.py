"""The gallery: the registered products of a station, in one SQLite file.

Every change is an event that is only ever appended, so each state has a version, an author and a
time, and can be rolled back to. Snapshots are kept as JPEG, embeddings beside them with the
fingerprint of the model that made them; a gallery answers only to that model.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.database import Database
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.history import Event, State, replay
from vision_edge.runtime.manifest import ModelIdentity
from vision_edge.runtime.preprocess import Image, decode_image

MAX_LABEL = 200
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories no label may hold: control and format characters, surrogates, line ends."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian words and family emoji need; no others are let in."""


@dataclass(frozen=True)
class Snapshot:
    """An image to register: its JPEG bytes, its embedding float32 (D,), and where it came from."""

    jpeg: bytes
    embedding: Embeddings
    origin: str


class Gallery:
    """An open gallery. Use it as a context manager, or call `close`.

    Args:
        path: The gallery's file.
        model: Identity of the model that embeds for it; checked against the gallery's. None opens
            it whichever model made it (to list, rename, remove, roll back).
        create: Make an empty gallery where there is no file; needs a model.
        author: Who makes the changes; by default the user who runs the program.

    Raises:
        GalleryError: If the file is absent (without `create`), is no gallery, is damaged, of an
            unknown version, or belongs to another model.
    """

    def __init__(
        self,
        path: Path | str,
        model: ModelIdentity | None = None,
        *,
        create: bool = False,
        author: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.author = author or _current_user()
        self._expected = model
        self._db = Database(self.path, _meta_of(model) if create and model else None)
        try:
            self._check_model()
        except GalleryError:
            self._db.close()
            raise

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; further calls fail."""
        self._db.close()

    @property
    def model(self) -> ModelIdentity:
        """Identity of the model whose embeddings the gallery answers with."""
        with self._consistent():
            return ModelIdentity(self._db.meta("fingerprint"), int(self._db.meta("embedding_dim")))

    @property
    def version(self) -> int:
        """Number of the last event; 0 for an empty gallery."""
        return int(self._db.rows("SELECT coalesce(max(version), 0) FROM events")[0][0])

    def events(self) -> list[Event]:
        """Return every event, oldest first."""
        rows = self._db.rows(
            "SELECT version, time, author, kind, label, snapshot, argument "
            "FROM events ORDER BY version"
        )
        return [Event(*row) for row in rows]

    def state(self) -> State:
        """Return the snapshot identifiers of each registered product."""
        with self._consistent():
            return replay(self.events())

    def prototypes(self) -> tuple[list[str], Embeddings]:
        """Return the products' labels, and their prototypes float32 (P, D)."""
        self._check_model()
        state, model = self.state(), self.model
        rows = self._db.rows(
            "SELECT snapshot, vector FROM embeddings WHERE fingerprint = ?", (model.fingerprint,)
        )
        with self._consistent():
            vectors = {snapshot: np.frombuffer(vector, "<f4") for snapshot, vector in rows}
            means = [np.mean([vectors[i] for i in ids], axis=0) for ids in state.values()]
            stacked = np.asarray(means, dtype=np.float32).reshape(-1, model.embedding_dim)
            if not np.isfinite(stacked).all():
                raise ValueError("an embedding is not finite")
        return list(state), stacked

    def jpeg(self, snapshot: int) -> bytes:
        """Return a snapshot's JPEG, byte for byte as it was registered.

        Raises:
            GalleryError: If there is no such snapshot.
        """
        rows = self._db.rows("SELECT jpeg FROM snapshots WHERE id = ?", (snapshot,))
        if not rows:
            raise GalleryError(f"{self.path}: there is no snapshot {snapshot}")
        return bytes(rows[0][0])

    def image(self, snapshot: int) -> Image:
        """Return a snapshot's image: uint8 (H, W, 3), BGR.

        Raises:
            GalleryError: If there is no such snapshot.
            ImageError: If it cannot be decoded.
        """
        return decode_image(self.jpeg(snapshot), f"{self.path}, snapshot {snapshot}")

    def add(self, label: str, snapshots: Sequence[Snapshot]) -> int:
        """Register snapshots of a product: all of them, or none.

        Args:
            label: The product's name; a new one makes a new product.
            snapshots: At least one.

        Returns:
            The gallery's new version.

        Raises:
            GalleryError: If the label is not fit to be one, there is nothing to add, an embedding
                is of the wrong length or not finite, or a snapshot is registered already.
        """
        label = checked_label(label)
        if not snapshots:
            raise GalleryError(f"nothing to register for {label!r}", fix="give at least one image")
        with self._db.transaction():
            self._check_model()
            model = self.model
            owners = {i: name for name, ids in self.state().items() for i in ids}
            for snapshot in snapshots:
                identifier = self._store(snapshot, model)
                if identifier in owners:
                    raise GalleryError(
                        f"{snapshot.origin}: this very image is registered already, as "
                        f"{owners[identifier]!r}; nothing was registered",
                        fix="take another snapshot, or remove that product first",
                    )
                owners[identifier] = label
                self._append("add", label, snapshot=identifier)
            return self.version

    def remove(self, label: str) -> int:
        """Remove a product (its history stays) and return the new version.

        Raises:
            GalleryError: If there is no such product.
        """
        with self._db.transaction():
            self._require_product(label)
            self._append("remove", label)
            return self.version

    def rename(self, label: str, new: str) -> int:
        """Rename a product and return the new version.

        Raises:
            GalleryError: If there is no such product, or the new name is taken or unfit.
        """
        new = checked_label(new)
        with self._db.transaction():
            self._require_product(label)
            if new in self.state():
                raise GalleryError(f"there is a product {new!r} already", fix="choose another name")
            self._append("rename", label, argument=new)
            return self.version

    def rollback(self, version: int) -> int:
        """Return to the products of an earlier version, as a new version.

        Raises:
            GalleryError: If there was no such version.
        """
        with self._db.transaction():
            if not 0 <= version <= self.version:
                raise GalleryError(
                    f"{self.path}: there is no version {version} (0 to {self.version})",
                    fix="see `vision-edge gallery history`",
                )
            self._append("rollback", argument=str(version))
            return self.version

    def reembed(self, model: ModelIdentity, embed: Callable[[Image], Embeddings]) -> int:
        """Bind the gallery to another model: embed every snapshot it ever held.

        Args:
            model: The new model's identity.
            embed: Turns an image, uint8 (H, W, 3) BGR, into float32 (D,).

        Returns:
            The new version. On any failure the gallery stays as it was.
        """
        with self._db.transaction():
            for (identifier,) in self._db.rows("SELECT id FROM snapshots ORDER BY id"):
                vector = embed(self.image(identifier))
                self._store_embedding(identifier, vector, model, f"snapshot {identifier}")
            self._db.set_meta(_meta_of(model))
            self._append("reembed", argument=model.fingerprint)
            version = self.version
        self._expected = self._expected and model
        return version

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

    @contextmanager
    def _consistent(self) -> Iterator[None]:
        """Turn records that contradict each other into a `GalleryError`."""
        try:
            yield
        except (KeyError, ValueError) as error:
            raise GalleryError(
                f"{self.path}: damaged: its records contradict each other ({error!r})",
                fix="restore a copy of the file",
            ) from error

    def _append(
        self,
        kind: str,
        label: str | None = None,
        *,
        snapshot: int | None = None,
        argument: str | None = None,
    ) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._db.rows(
            "INSERT INTO events (time, author, kind, label, snapshot, argument) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (now, self.author, kind, label, snapshot, argument),
        )

    def _store(self, snapshot: Snapshot, model: ModelIdentity) -> int:
        """Keep a snapshot and its embedding; the same image is kept once."""
        digest = hashlib.sha256(snapshot.jpeg).hexdigest()
        self._db.rows(
            "INSERT OR IGNORE INTO snapshots (sha256, jpeg, origin) VALUES (?, ?, ?)",
            (digest, snapshot.jpeg, snapshot.origin),
        )
        [(identifier,)] = self._db.rows("SELECT id FROM snapshots WHERE sha256 = ?", (digest,))
        self._store_embedding(identifier, snapshot.embedding, model, snapshot.origin)
        return int(identifier)

    def _store_embedding(
        self, snapshot: int, vector: Embeddings, model: ModelIdentity, origin: str
    ) -> None:
        if vector.shape != (model.embedding_dim,) or not np.isfinite(vector).all():
            raise GalleryError(
                f"{origin}: an embedding of this gallery is finite float32 "
                f"({model.embedding_dim},); got {vector.dtype} {vector.shape}"
            )
        self._db.rows(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
            (snapshot, model.fingerprint, np.ascontiguousarray(vector, dtype="<f4").tobytes()),
        )

    def _require_product(self, label: str) -> None:
        products = self.state()
        if label not in products:
            known = ", ".join(map(repr, list(products)[:10])) or "none"
            raise GalleryError(
                f"{self.path}: there is no product {label!r}", fix=f"registered are: {known}"
            )


def checked_label(label: str) -> str:
    """Return a product's name without surrounding white space.

    Raises:
        GalleryError: If it is empty, too long, or holds control characters.
    """
    label = label.strip()
    forbidden = any(
        unicodedata.category(character) in _FORBIDDEN and character not in _JOINERS
        for character in label
    )
    if not label or len(label) > MAX_LABEL or forbidden:
        raise GalleryError(
            f"{label[:40]!r} cannot be a product's name",
            fix=f"use 1 to {MAX_LABEL} printable characters",
        )
    return label


def _meta_of(model: ModelIdentity) -> dict[str, str]:
    return {"fingerprint": model.fingerprint, "embedding_dim": str(model.embedding_dim)}


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
