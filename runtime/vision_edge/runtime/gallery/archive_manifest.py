"""What a gallery's archive says of itself, and the checks that need nothing but that."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vision_edge.runtime.bundles.manifest import FileInfo, ModelIdentity, Sha256
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.labels import checked_label

SCHEMA_VERSION = "1.0"
FORMAT = "vision-edge gallery"
MAX_JPEG = 512 << 20
"""Bytes of one snapshot: more than any image that can be registered has."""
MAX_SNAPSHOTS = 1_000_000
MAX_DIM = 1 << 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SnapshotInfo(_Part):
    """A snapshot: its JPEG's hash (which names its member) and size, and where it came from."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=1, le=MAX_JPEG)]
    origin: Annotated[str, Field(max_length=10_000)]


class ProductInfo(_Part):
    """A product and its snapshots, in order of registration."""

    label: str
    snapshots: Annotated[tuple[Sha256, ...], Field(min_length=1)]


class NegativeInfo(_Part):
    """A snapshot of what is not the product `label`, or, if that is None, no product at all."""

    snapshot: Sha256
    label: str | None


_LISTS: dict[str, type[_Part]] = {
    "products": ProductInfo, "negatives": NegativeInfo, "snapshots": SnapshotInfo,
}  # fmt: skip
_MAX_MEMBERS = 20
_HASH = re.compile(r"[0-9a-f]{64}")


class ArchiveManifest(_Part):
    """An archive's `manifest.json`.

    Attributes:
        schema_version: `major.minor`; an unknown major version is refused.
        fingerprint: Of the model that made the embeddings.
        embedding_dim: D, the length of an embedding.
        version: The gallery's version when it was exported.
        products: In order of registration.
        negatives: What is not those products.
        snapshots: One for each row of the embeddings.
        embeddings: Size and hash of the embeddings' member.
    """

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")] = FORMAT
    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    fingerprint: Sha256
    embedding_dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    version: Annotated[int, Field(ge=0)]
    products: tuple[ProductInfo, ...]
    negatives: tuple[NegativeInfo, ...]
    snapshots: Annotated[tuple[SnapshotInfo, ...], Field(max_length=MAX_SNAPSHOTS)]
    embeddings: FileInfo

    @property
    def identity(self) -> ModelIdentity:
        """The model that made the embeddings."""
        return ModelIdentity(self.fingerprint, self.embedding_dim)

    @property
    def uses(self) -> list[tuple[str, str, str | None]]:
        """Each snapshot's hash, event (`add` or `negative`) and label: products first."""
        added = [
            (sha, "add", product.label) for product in self.products for sha in product.snapshots
        ]
        return [*added, *((n.snapshot, "negative", n.label) for n in self.negatives)]

    def to_bytes(self) -> bytes:
        """Return the manifest as it is written."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1).encode()

    @staticmethod
    def from_bytes(data: bytes, name: str) -> ArchiveManifest:
        """Parse and check a manifest.

        Args:
            data: The member's bytes.
            name: What to call it in an error.

        Raises:
            GalleryError: If it is no manifest, of an unknown version, or contradicts itself.
        """
        try:
            fields = json.loads(data)
            _check_version(fields, name)
            manifest = ArchiveManifest.model_validate(_item_by_item(fields))
        except (ValueError, RecursionError, ValidationError) as error:
            raise GalleryError(
                f"{name}: not the manifest of a gallery's archive: {_first_of(error)}",
                fix="export it again",
            ) from error
        _check_uses(manifest, name)
        return manifest


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _item_by_item(fields: object) -> object:
    """Return a manifest's values with its long lists checked, each up to its first fault.

    Whole lists are checked by no validator: that would complain of every item.

    Raises:
        ValueError: With the first fault.
    """
    if not isinstance(fields, dict) or len(fields) > _MAX_MEMBERS:
        raise ValueError("not an object of a few members")
    checked = dict(fields)
    for name, kind in _LISTS.items():
        items = fields.get(name)
        if not isinstance(items, list) or len(items) > MAX_SNAPSHOTS:
            raise ValueError(f"{name}: not a list of at most {MAX_SNAPSHOTS:,} items")
        checked[name] = [_item(name, kind, item) for item in items]
    return checked


def _item(name: str, kind: type[_Part], item: object) -> _Part:
    if not isinstance(item, dict) or len(item) > _MAX_MEMBERS:
        raise ValueError(f"{name}: an item is no object of a few members")
    hashes = item.get("snapshots")
    if isinstance(hashes, list) and not all(_is_hash(value) for value in hashes):
        raise ValueError(f"{name}: a snapshot is no SHA-256")
    return kind.model_validate(item)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _first_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error) or type(error).__name__


def _check_version(fields: object, name: str) -> None:
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if isinstance(version, str) and version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise GalleryError(
            f"{name}: archive version {version[:20]} is not one this program reads "
            f"({SCHEMA_VERSION})",
            fix="update vision-edge on this device",
        )


def _check_uses(manifest: ArchiveManifest, name: str) -> None:
    """Check that labels are fit and single, and each snapshot is used exactly once."""
    labels = [product.label for product in manifest.products]
    used = [sha for sha, _, _ in manifest.uses]
    listed = [snapshot.sha256 for snapshot in manifest.snapshots]
    named = {*labels, *(n.label for n in manifest.negatives if n.label is not None)}
    unfit = next((label for label in sorted(named) if not _is_fit(label)), None)
    if unfit is not None:
        wrong = f"{unfit[:40]!r} cannot be a product's name"
    elif len(set(labels)) < len(labels):
        wrong = "a product is listed twice"
    elif len(set(listed)) < len(listed) or sorted(used) != sorted(listed):
        wrong = "its lists of snapshots contradict each other"
    else:
        return
    raise GalleryError(f"{name}: {wrong}", fix="export it again")


def _is_fit(label: str) -> bool:
    try:
        return checked_label(label) == label
    except GalleryError:
        return False
