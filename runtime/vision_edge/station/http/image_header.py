"""The first bytes of a picture: its kind and size, before a decoder takes memory for it."""

from __future__ import annotations

from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.picture_header import read_header
from vision_edge.station.http.request_error import RequestError


def check_header(data: bytes, max_pixels: int, name: str) -> int:
    """Return how many pixels a picture has; refuse what is of no kind that is read, or too large.

    Raises:
        RequestError: With the reason.
    """
    try:
        header = read_header(data, name)
    except ImageError as error:
        raise RequestError(
            422, "bad_image", error.what, error.fix or "send a JPEG or PNG picture"
        ) from None
    if header.width * header.height > max_pixels:
        raise RequestError(
            422, "too_many_pixels",
            f"{name}: {header.width}x{header.height} pixels is over the limit of {max_pixels:,}",
            "crop or reduce it first",
        )  # fmt: skip
    return header.width * header.height
