"""Uploads: a picture from outside, checked before anything keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Request, UploadFile

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.coding import decode_image, is_jpeg
from vision_edge.runtime.images.reading import Reading
from vision_edge.station.http.admission import hold_pixels
from vision_edge.station.http.api.routes import station_of
from vision_edge.station.http.image_header import check_header
from vision_edge.station.http.request_error import RequestError


@dataclass(frozen=True)
class Upload:
    """A picture from outside.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        data: As it came.
        origin: Where it came from.
    """

    image: Image
    data: bytes
    origin: str

    @property
    def jpeg(self) -> bytes | None:
        """Its bytes where they are a JPEG to be kept."""
        return self.data if is_jpeg(self.data) else None


def decoded(request: Request, *uploads: UploadFile) -> list[Upload]:
    """Return pictures; room for all of them is held until the request is answered.

    A file's name only becomes text, never a path.

    Raises:
        RequestError: If one is too large, or no JPEG, PNG, WebP or BMP, or all are too large.
        ImageError: If one cannot be decoded.
    """
    settings = station_of(request).settings
    most = settings.server.max_pixels
    read = [(_name_of(upload), upload.file.read()) for upload in uploads]
    hold_pixels(request, sum(check_header(data, most, name) for name, data in read))
    return [_decoded(data, name, most, settings.reading) for name, data in read]


def _decoded(data: bytes, name: str, max_pixels: int, reading: Reading) -> Upload:
    image = decode_image(data, name, reading)
    height, width = image.shape[:2]
    if width * height > max_pixels:
        raise RequestError(
            422, "too_many_pixels", f"{name}: {width}x{height} pixels", "reduce it first"
        )
    return Upload(image, data, f"upload {name}")


def _name_of(upload: UploadFile) -> str:
    return re.sub(r"[^\w.() -]", "_", (upload.filename or "picture").rpartition("/")[2])[:80]
