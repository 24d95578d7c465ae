"""Which images calibrate and which judge: never the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vision_edge.runtime.arrays import Image

EVERY = 4
"""One in so many of the calibration images is held out for the gate."""


def split(images: Sequence[Image]) -> tuple[list[Image], list[Image]]:
    """Divide images into those to calibrate on and those to judge by, the same way every time.

    The order is that of the images' hashes, so neither their names nor their order matter, and
    frames that follow one another are spread over both. Copies of one image stay together.

    Args:
        images: Each uint8 (H, W, 3).

    Returns:
        Images to calibrate on, about three quarters, and images to judge by.
    """
    distinct = {fingerprint(image): image for image in images}
    order = sorted(distinct)
    judging = {key for rank, key in enumerate(order) if rank % EVERY == EVERY - 1}
    return (
        [distinct[key] for key in order if key not in judging],
        [distinct[key] for key in order if key in judging],
    )


def without(images: Sequence[Image], others: Sequence[Image]) -> list[Image]:
    """Return the images that are not among the others."""
    known = {fingerprint(image) for image in others}
    return [image for image in images if fingerprint(image) not in known]


def fingerprint(image: Image) -> str:
    """Return a hash of an image's shape and pixels."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
