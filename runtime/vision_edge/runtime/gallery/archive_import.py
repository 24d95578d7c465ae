"""Taking an archive into a gallery: which products clash, and what is then done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.archive import Archive, open_archive
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Embed, Snapshot

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance, Signed

OnConflict = Literal["refuse", "merge", "replace"]
"""What to do with products that the gallery has already."""
ON_CONFLICT: tuple[OnConflict, ...] = get_args(OnConflict)


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        before: The gallery's version before it: `rollback` to it undoes the import.
        version: The version after it.
        snapshots: How many came in; those that were there already are not counted.
        signed: Who has signed the archive, where that was checked.
    """

    before: int
    version: int
    snapshots: int
    signed: Signed | None = None


@dataclass(frozen=True)
class Reembedding:
    """Makes embeddings anew, so that an archive of any model can be read.

    Attributes:
        model: Whose embeddings they are.
        embed: Makes a snapshot of a kept JPEG.
    """

    model: ModelIdentity
    embed: Embed


def import_archive(
    path: Path,
    gallery: Path,
    *,
    on_conflict: OnConflict = "refuse",
    reembedding: Reembedding | None = None,
    author: str | None = None,
    provenance: Provenance | None = None,
) -> Imported:
    """Take an archive's products into a gallery: all of it, or nothing.

    Args:
        path: The archive; all of it is verified before the gallery is touched.
        gallery: The gallery's file; made where there is none.
        on_conflict: What to do with products that the gallery has already: refuse, add the
            snapshots that it lacks, or replace them.
        reembedding: Embed the snapshots anew; None takes the archive's embeddings, which then must
            be of the gallery's model.
        author: Who makes the change.
        provenance: Whose signature the archive must bear; whoever calls has it remember what was
            taken (`Provenance.take`).

    Raises:
        ProvenanceError: If it is not signed by whom is trusted, or is too old.
        GalleryError: If the archive is damaged, of another model, or clashes with the gallery.
        ImageError: If a snapshot is no picture.
    """
    if on_conflict not in ON_CONFLICT:
        raise GalleryError(
            f"unknown way {on_conflict!r} with products that exist",
            fix=f"use one of {', '.join(ON_CONFLICT)}",
        )
    with open_archive(path, provenance, beside=gallery) as archive:
        model = reembedding.model if reembedding else archive.manifest.identity
        if _is_there(gallery):
            _check_model(gallery, model, path, given=reembedding is not None)
        with Gallery(gallery, model, create=True, author=author) as opened:
            return _take_in(opened, archive, on_conflict, reembedding)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # opening it says what is wrong


def _check_model(gallery: Path, model: ModelIdentity, path: Path, *, given: bool) -> None:
    """Refuse another model's archive; a bundle that is not the gallery's says so itself."""
    with Gallery(gallery) as opened:
        own = opened.model
    if own != model and not given:
        raise GalleryError(
            f"{path}: made by another model (its fingerprint is {model.fingerprint[:12]}…, the "
            f"gallery's {own.fingerprint[:12]}…), so its embeddings cannot be compared",
            fix="give the gallery's bundle, to embed the snapshots anew: --bundle BUNDLE; or run "
            f"`vision-edge gallery reembed BUNDLE --gallery {gallery}` with the archive's bundle",
        )


def _take_in(
    gallery: Gallery, archive: Archive, on_conflict: OnConflict, reembedding: Reembedding | None
) -> Imported:
    manifest = archive.manifest
    with gallery.changing() as append:
        before, contents = gallery.version, gallery.contents()
        there = [p.label for p in manifest.products if p.label in contents.products]
        places = contents.places()
        if there and on_conflict == "refuse":
            raise _clash(there)
        append("import", argument=archive.sha256)
        for label in there if on_conflict == "replace" else ():
            append("remove", label)
            places = {i: place for i, place in places.items() if place[1] != label}
        count = 0
        for sha256, kind, label_or_none in manifest.uses:
            identifier = gallery.snapshots.find(sha256)
            place = None if identifier is None else places.get(identifier)
            if place == (kind, label_or_none):
                continue
            if place is not None:
                raise _taken(archive.manifest.uses, sha256, place)
            if identifier is None:
                snapshot = _embedded(archive.snapshot(sha256), reembedding)
                identifier = gallery.snapshots.store(snapshot, gallery.model)
            append(kind, label_or_none, snapshot=identifier)
            count += 1
        return Imported(before, gallery.version, count, archive.signed)


def _embedded(snapshot: Snapshot, reembedding: Reembedding | None) -> Snapshot:
    if reembedding is None:
        return snapshot
    return reembedding.embed(snapshot.jpeg, snapshot.origin)


def _clash(labels: Sequence[str]) -> GalleryError:
    named = ", ".join(map(repr, labels[:10]))
    return GalleryError(
        f"the gallery has {len(labels)} of these products already: {named}; nothing was imported",
        fix="choose --on-conflict merge (add the snapshots it lacks) or replace",
    )


def _taken(
    uses: Sequence[tuple[str, str, str | None]], sha256: str, place: tuple[str, str | None]
) -> GalleryError:
    [wanted] = [(kind, label) for sha, kind, label in uses if sha == sha256]
    return GalleryError(
        f"snapshot {sha256[:12]}… is {_said(*wanted)} in the archive and {_said(*place)} in the "
        "gallery; nothing was imported",
        fix="drop it in the gallery, or rename the product there, and import again",
    )


def _said(kind: str, label: str | None) -> str:
    whose = "any product" if label is None else repr(label)
    return f"a picture of {whose}" if kind == "add" else f"no picture of {whose}"
