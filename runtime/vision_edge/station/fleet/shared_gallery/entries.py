"""What stations of a line tell each other: one entry for a product, and which of two is newer.

An entry holds all of a product: the newest one counts, whole. It is dated by a hybrid logical
clock (Kulkarni et al. 2014, Logical Physical Clocks): milliseconds of the station's own clock,
moved on past the entry it replaces, so that who saw a change and changes it again always wins,
however wrong the clocks.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vision_edge.runtime.bundles.manifest import Sha256
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.system.documents import refuse_vast

SCHEMA_VERSION = "1.0"
MAX_ENTRY = 1 << 20
"""Bytes of one entry's message."""
MAX_PICTURES, MAX_ORIGIN = 1000, 200
MAX_MS, MAX_COUNT = 1 << 52, 1 << 31

Order = tuple[int, int, str, str]
"""Sorts entries by age: clock, then station, then content, so that no two different are equal."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Clock(_Part):
    """A moment: milliseconds since 1970, and a count of changes within one."""

    ms: Annotated[int, Field(ge=0, lt=MAX_MS)]
    n: Annotated[int, Field(ge=0, lt=MAX_COUNT)] = 0

    def next(self, now_ms: int) -> Clock:
        """Return the present moment, or just after this one, whichever is later."""
        if now_ms > self.ms:
            return Clock(ms=now_ms)
        if self.n + 1 < MAX_COUNT:
            return Clock(ms=self.ms, n=self.n + 1)
        return Clock(ms=self.ms + 1)


class Picture(_Part):
    """A snapshot: its JPEG's hash and size in bytes, and where it came from."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=1)]
    origin: Annotated[str, Field(max_length=MAX_ORIGIN)] = ""


Pictures = Annotated[tuple[Picture, ...], Field(max_length=MAX_PICTURES, strict=False)]


class Entry(_Part):
    """All that a line knows of one product, or of one picture of no product.

    Attributes:
        schema_version: `major.minor`; an unknown major version is refused.
        key: `product/HASH` of the label, or `negative/HASH` of a picture of no product at all.
        label: The product; None with `negative/`.
        clock: When it was changed.
        station: Who changed it.
        snapshots: The product's pictures; with `negatives` empty too, it is removed.
        negatives: Pictures of what it is not.
    """

    format: Literal["vision-edge line"] = "vision-edge line"
    schema_version: Annotated[str, Field(pattern=r"^1\.\d{1,4}$")] = SCHEMA_VERSION
    key: Annotated[str, Field(max_length=100)]
    label: str | None
    clock: Clock
    station: Annotated[str, Field(min_length=1, max_length=200)]
    snapshots: Pictures = ()
    negatives: Pictures = ()

    @cached_property
    def order(self) -> Order:
        """Sorts it among entries of its key."""
        digest = hashlib.sha256(self.to_bytes()).hexdigest()
        return (self.clock.ms, self.clock.n, self.station, digest)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Snapshots and negatives."""
        return (*self.snapshots, *self.negatives)

    @property
    def size(self) -> int:
        """Bytes of all its pictures."""
        return sum(picture.bytes for picture in self.pictures)

    def to_bytes(self) -> bytes:
        """Return it as it is sent: one content, one byte string."""
        document = self.model_dump(mode="json")
        return json.dumps(document, sort_keys=True, ensure_ascii=False).encode()

    @model_validator(mode="after")
    def _check(self) -> Entry:
        hashes = [picture.sha256 for picture in self.pictures]
        if len(hashes) > MAX_PICTURES or len(set(hashes)) < len(hashes):
            raise ValueError("a picture is listed twice, or there are too many")
        if self.label is None:
            if self.snapshots or any(negative_key(h) != self.key for h in hashes):
                raise ValueError("pictures that are not this key's")
        elif self.key != product_key(self.label):
            raise ValueError("the key is not this label's")
        elif checked_label(self.label) != self.label:
            raise ValueError("unfit label")
        if checked_label(self.station) != self.station:
            raise ValueError("unfit name of a station")
        return self


def product_key(label: str) -> str:
    """Return the key of a product."""
    return "product/" + hashlib.sha256(label.encode()).hexdigest()[:32]


def negative_key(sha256: str) -> str:
    """Return the key of a picture that is of no product."""
    return "negative/" + sha256


def read_entry(data: bytes) -> Entry:
    """Parse an entry from outside.

    Raises:
        GalleryError: If it is too large, no entry, of an unknown version, or contradicts itself.
    """
    if len(data) > MAX_ENTRY:
        raise GalleryError(f"an entry of {len(data)} bytes is over the limit of {MAX_ENTRY}")
    try:
        refuse_vast(json.loads(data), items=MAX_PICTURES, keys=20)
        return Entry.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise GalleryError(f"not a line's entry: {where}: {first['msg'][:200]}") from None
    except (GalleryError, ValueError, RecursionError) as error:
        raise GalleryError(f"not a line's entry: {str(error)[:200]}") from None
