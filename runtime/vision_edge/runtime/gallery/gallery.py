"""The gallery: the registered products of a station, in one SQLite file.

Every change is an event that is only ever appended, so each state has a version, an author and a
time, and can be rolled back to. Snapshots are kept as JPEG, embeddings beside them with the
fingerprint of the model that made them; a gallery answers only to that model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Protocol

import numpy as np

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.gallery.reader import NOTE, GalleryReader, meta_of
from vision_edge.runtime.gallery.snapshot_store import Embed, Snapshot
from vision_edge.runtime.gallery.station_frames import SeenFrame


class Append(Protocol):
    """Appends an event within a transaction."""

    def __call__(
        self,
        kind: str,
        label: str | None = None,
        *,
        snapshot: int | None = None,
        argument: str | None = None,
    ) -> None:
        """Append an event of a kind, as `history.Event` explains."""


class Gallery(GalleryReader):
    """An open gallery. Use it as a context manager, or call `close`.

    Args:
        path: The gallery's file.
        model: Identity of the model that embeds for it; checked against the gallery's. None opens
            it whichever model made it (to list, rename, remove, roll back).
        create: Make an empty gallery where there is no file; needs a model.
        author: Who makes the changes; by default the user who runs the program.
        wait_s: How long, in seconds, each statement waits for another program that holds the file.

    Raises:
        GalleryBusyError: If another program holds the file for longer; so does every call.
        GalleryError: If the file is absent (without `create`), is no gallery, is damaged, of an
            unknown version, or belongs to another model.
    """

    _writes = True

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
            model, contents = self.model, self.contents()
            owners = contents.owners()
            for snapshot in snapshots:
                identifier = self.snapshots.store(snapshot, model)
                taken = owners.get(identifier)
                if taken is not None or identifier in contents.negatives:
                    known = repr(taken) if taken is not None else "a negative"
                    raise GalleryError(
                        f"{snapshot.origin}: this very image is registered already, as {known}; "
                        "nothing was registered",
                        fix="take another snapshot, or remove that product first",
                    )
                owners[identifier] = label
                self._append("add", label, snapshot=identifier)
            return self.version

    def add_negatives(self, label: str | None, snapshots: Sequence[Snapshot]) -> int:
        """Keep snapshots of what is *not* a product: all of them, or none.

        Args:
            label: The product that they are not; None for what is no product at all.
            snapshots: At least one.

        Returns:
            The gallery's new version.

        Raises:
            GalleryError: If there is no such product, or a snapshot is registered already.
        """
        with self._db.transaction():
            self._check_model()
            if label is not None:
                label = self._require_product(label)
            model, contents = self.model, self.contents()
            used = {**contents.owners(), **contents.negatives}
            for snapshot in snapshots:
                identifier = self.snapshots.store(snapshot, model)
                if identifier in used:
                    raise GalleryError(
                        f"{snapshot.origin}: this very image is registered already",
                        fix="drop it first: vision-edge gallery drop ID --gallery FILE",
                    )
                self._append("negative", label, snapshot=identifier)
            return self.version

    def drop(self, snapshot: int) -> int:
        """Take one snapshot out of its product, or a negative away; return the new version.

        Raises:
            GalleryError: If it is neither.
        """
        with self._db.transaction():
            contents = self.contents()
            owners = contents.owners()
            if snapshot not in owners and snapshot not in contents.negatives:
                raise GalleryError(
                    f"{self.path}: no product has a snapshot {snapshot}",
                    fix="see `vision-edge gallery show`",
                )
            label = owners.get(snapshot, contents.negatives.get(snapshot))
            self._append("drop", label, snapshot=snapshot)
            return self.version

    def remove(self, label: str) -> int:
        """Remove a product (its history stays) and return the new version.

        Raises:
            GalleryError: If there is no such product.
        """
        with self._db.transaction():
            label = self._require_product(label)
            self._append("remove", label)
            return self.version

    def rename(self, label: str, new: str) -> int:
        """Rename a product and return the new version.

        Raises:
            GalleryError: If there is no such product, or the new name is taken or unfit.
        """
        new = checked_label(new)
        with self._db.transaction():
            label = self._require_product(label)
            if new in self.contents().products:
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

    def reembed(self, model: ModelIdentity, embed: Embed) -> int:
        """Bind the gallery to another model: embed every snapshot it ever held.

        Args:
            model: The new model's identity.
            embed: Makes a snapshot of a kept JPEG.

        Returns:
            The new version. On any failure the gallery stays as it was.
        """
        with self._db.transaction():
            for (identifier,) in self._db.rows("SELECT id FROM snapshots ORDER BY id"):
                name = f"{self.path}, snapshot {identifier}"
                snapshot = embed(self.snapshots.jpeg(identifier), name)
                self.snapshots.store_vectors(identifier, snapshot, model, name)
            self._db.set_meta(meta_of(model))
            self._append("reembed", argument=model.fingerprint)
            version = self.version
        self._expected = self._expected and model
        return version

    @contextmanager
    def changing(self) -> Iterator[Append]:
        """Make several changes as one: yields what appends an event; on any error none remains.

        Raises:
            GalleryError: If the gallery belongs to another model by now.
        """
        with self._db.transaction():
            self._check_model()
            yield self._append

    def note(self, values: dict[str, str]) -> None:
        """Keep texts by name beside the events; no event tells of them, and no rollback undoes it.

        Within `changing` they are kept together with the change, or not at all.
        """
        self._db.set_meta({NOTE + name: value for name, value in values.items()})

    def keep_frames(
        self,
        frames: Sequence[SeenFrame],
        again: dict[int, int] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Keep a sample of what the station's camera saw; no event tells of it.

        Args:
            frames: New ones.
            again: By the number of a kept frame, how many more were all but the same.
            rng: Draws which of all stay.

        Raises:
            GalleryError: If an embedding does not fit, or the gallery is another model's by now.
        """
        with self._db.transaction():
            self._check_model()
            self.frames.add(self.model, frames, again or {}, rng or np.random.default_rng())

    def forget_frames(self) -> int:
        """Forget what the station's camera saw, by whatever model; return how many frames."""
        with self._db.transaction():
            return self.frames.clear()

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
