"""Uploads: a picture from outside, checked before anything keeps it."""

from __future__ import annotations

import re

from fastapi import UploadFile

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.coding import decode_image, is_jpeg
from vision_edge.station.http.image_header import check_header
from vision_edge.station.http.request_error import RequestError


def decoded(upload: UploadFile, max_pixels: int) -> tuple[Image, bytes | None, str]:
    """Return a picture, its bytes where they are a JPEG to be kept, and where it came from.

    The file's name only becomes text, never a path.

    Raises:
        RequestError: If it is too large, or no JPEG, PNG, WebP or BMP.
        ImageError: If it cannot be decoded.
    """
    data = upload.file.read()
    name = re.sub(r"[^\w.() -]", "_", (upload.filename or "picture").rpartition("/")[2])[:80]
    check_header(data, max_pixels, name)
    image = decode_image(data, name)
    height, width = image.shape[:2]
    if width * height > max_pixels:
        raise RequestError(
            422, "too_many_pixels", f"{name}: {width}x{height} pixels", "reduce it first"
        )
    return image, data if is_jpeg(data) else None, f"upload {name}"
