"""Captures: frozen frames and uploads that wait, for a while, to be registered."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.coding import decode_image, encode_jpeg, is_jpeg
from vision_edge.runtime.images.locating import Found, Locator, most_prominent
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.presence import square_around
from vision_edge.runtime.images.quality import inspect_picture
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.runtime.pipeline.registration import Picture, catalogue_picture, read_picture
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.errors import CropError, NotThereError

_MOST = 16
_MIN_CROP = 8
MAX_BYTES = 128 << 20
"""Memory of all captures together."""


@dataclass(frozen=True)
class Crop:
    """A rectangle of a capture, in its pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Capture:
    """A picture that waits to be registered.

    Attributes:
        id: What it is called; it cannot be guessed.
        kept: Its pixels, uint8 (H, W, 3) BGR; or an upload as it came, which is decoded when it is
            used, since it may be a hundred times as large then.
        size: Width and height.
        jpeg: The picture encoded: as it was uploaded, if that was a JPEG.
        origin: Where it came from.
        locator: Finds the parts of its source, if anything does.
        others: More views of the part, as JPEG: of a burst.
        reading: What an upload does not say of its pixels.
        expires: When it is forgotten, in seconds of `time.monotonic`.
    """

    id: str
    kept: Image | bytes
    size: tuple[int, int]
    jpeg: bytes
    origin: str
    locator: Locator | None
    expires: float
    others: tuple[bytes, ...] = ()
    reading: Reading = AS_IT_SAYS

    @property
    def image(self) -> Image:
        """Its pixels: uint8 (H, W, 3), BGR."""
        kept = self.kept
        if isinstance(kept, bytes):
            return decode_image(kept, self.origin, self.reading)
        return kept

    @property
    def pixels(self) -> int:
        """How many it has, with the other views of its burst."""
        return self.size[0] * self.size[1] * (1 + len(self.others))

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        kept = self.kept
        own = len(kept) if isinstance(kept, bytes) else kept.nbytes
        others = sum(len(other) for other in self.others)
        return own + others + len(self.jpeg) * (self.jpeg is not kept)

    def pictures(self, crop: Crop | None = None, *, catalogue: bool = False) -> list[Picture]:
        """Return it and the other views of its burst, or that part of them, inspected.

        Raises:
            CropError: If the crop is not inside the picture.
        """
        views = [self, *(replace(self, kept=decode_image(j, self.origin)) for j in self.others)]
        return [view.picture(crop, catalogue=catalogue) for view in views]

    def picture(self, crop: Crop | None = None, *, catalogue: bool = False) -> Picture:
        """Return it, or a part of it, inspected: what is to be registered.

        Without a crop it is cut to the part that its source's empty scene makes visible; a
        catalogue picture shows its product alone.

        Raises:
            CropError: If the crop is not inside the picture.
        """
        if catalogue:
            return catalogue_picture(self.image if crop is None else self._cut(crop), self.origin)
        if crop is not None:
            image = self._alone(crop)
            return Picture(image, None, self.origin, tuple(inspect_picture(image)))
        if self.locator is not None:
            return read_picture(Frame(self.image, self.origin, 0, 0.0), self.locator)
        image = self.image
        as_it_came = self.jpeg if self.jpeg is self.kept else None
        return Picture(image, as_it_came, self.origin, tuple(inspect_picture(image)))

    def part(self) -> Crop | None:
        """Return where it is cut to without a crop, or None where that is nowhere."""
        found = most_prominent(self.located)
        return None if found is None else self._around(found)

    def parts(self) -> list[Crop]:
        """Return what it may be cut to: around each part wholly in view, from left to right."""
        return [self._around(found) for found in self.located if found.complete]

    @cached_property
    def located(self) -> list[Found]:
        """Its parts, if they can be told."""
        return [] if self.locator is None else self.locator.find_all(self.image)

    def _around(self, found: Found) -> Crop:
        x0, y0, x1, y1 = square_around(self.size, found.box)
        return Crop(x0, y0, x1 - x0, y1 - y0)

    def _alone(self, crop: Crop) -> Image:
        """Return a crop; of one of `parts`, without what its neighbours show of themselves."""
        cut = self._cut(crop)
        for found in self.located:
            if self.locator is not None and found.complete and self._around(found) == crop:
                return crop_alone(self.image, found, self.located, self.locator.scene)
        return cut

    def _cut(self, crop: Crop) -> Image:
        width, height = self.size
        right, bottom = crop.x + crop.width, crop.y + crop.height
        small = min(crop.width, crop.height) < _MIN_CROP
        if min(crop.x, crop.y) < 0 or right > width or bottom > height or small:
            raise CropError(
                f"the crop {crop.x},{crop.y} of {crop.width}x{crop.height} pixels "
                f"is not inside a picture of {width}x{height}, or too small",
                fix=f"give at least {_MIN_CROP} pixels inside the picture",
            )
        return np.ascontiguousarray(self.image[crop.y : bottom, crop.x : right])


class Captures:
    """The captures of a station, in memory: the latest few, each for a while.

    They are at most 16, and the latest alone or all together at most `MAX_BYTES`.

    Args:
        seconds: How long each is kept.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._captures: OrderedDict[str, Capture] = OrderedDict()
        self._lock = threading.Lock()

    def add(
        self,
        image: Image,
        origin: str,
        *,
        locator: Locator | None = None,
        upload: bytes | None = None,
        others: Sequence[Image] = (),
        reading: Reading = AS_IT_SAYS,
    ) -> Capture:
        """Keep a picture.

        Args:
            image: uint8 (H, W, 3), BGR.
            origin: Where it came from.
            locator: Finds the parts of its source.
            upload: What `image` was decoded from, if it was uploaded.
            others: More views of the same part; kept encoded.
            reading: What the upload does not say of its pixels.

        Raises:
            ImageError: If it is no picture.
        """
        is_kept = upload is not None and is_jpeg(upload)
        jpeg = upload if upload is not None and is_kept else encode_jpeg(image)
        capture = Capture(
            secrets.token_hex(12),
            image if upload is None else upload,
            (image.shape[1], image.shape[0]),
            jpeg,
            origin,
            locator,
            time.monotonic() + self.seconds,
            tuple(encode_jpeg(other) for other in others),
            reading,
        )
        with self._lock:
            self._forget()
            self._captures[capture.id] = capture
            while len(self._captures) > 1 and self._too_many():
                self._captures.popitem(last=False)
        return capture

    def get(self, identifier: str) -> Capture:
        """Return a capture.

        Raises:
            NotThereError: If there is none of that name, or it is forgotten by now.
        """
        with self._lock:
            self._forget()
            capture = self._captures.get(identifier)
        if capture is None:
            raise NotThereError("there is no such capture (any more)", fix="freeze or upload again")
        return capture

    def __len__(self) -> int:
        return len(self._captures)

    def _too_many(self) -> bool:
        held = sum(capture.bytes for capture in self._captures.values())
        return len(self._captures) > _MOST or held > MAX_BYTES

    def _forget(self) -> None:
        now = time.monotonic()
        while self._captures and next(iter(self._captures.values())).expires < now:
            self._captures.popitem(last=False)
