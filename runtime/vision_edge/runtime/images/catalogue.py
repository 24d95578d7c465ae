"""Catalogue pictures: clean, on a plain background, in the views that a camera may have.

A catalogue shows one product, alone, upright and on white; a camera shows it beside others of its
kind, turned, and nearer. Of what could bridge that (other backgrounds, the station's empty scene,
sizes, turns, light, blur, noise), these views measurably did, and other backgrounds did not
(benchmarks/recognition_options.py; docs/explanation/recognition-options.md): the mean of their
embeddings stands for the product.

A kept picture says that it is a catalogue's by a comment in its JPEG, so that it is embedded in the
same way wherever it is embedded again: by another bundle, from an archive, or at another station.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import ImageError, require
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.crops import CROPS, cropped
from vision_edge.runtime.images.quality import Finding, inspect_picture

CATALOGUE_SIDE = 640
"""Longest side of a catalogue picture as it is kept, in pixels."""
PLAIN_BORDER = 0.7
"""Share of the border that must be of one colour; of 49 catalogue pictures the least was 0.84."""
TOLERANCE = 18
"""Grey levels by which the background may differ from that colour."""
SMALLEST_PRODUCT = 0.01
"""Share of the picture that the product must cover."""
INTERIOR = 0.8
"""Share of the product's box that the nearest view shows: nothing but product."""
COPY = 0.25
"""Longer side of a copy among others of its kind, in sides of the picture."""
COPY_TURN, COPY_LIGHT = 25.0, 0.75
"""Copies are turned by up to so many degrees, and lit by this share at least."""

_SIDE = 256
_COMMENT = b"vision-edge: catalogue picture"
_MARK = b"\xff\xfe" + (len(_COMMENT) + 2).to_bytes(2, "big") + _COMMENT


@dataclass(frozen=True)
class CutOut:
    """A product without its background.

    Attributes:
        image: uint8 (H, W, 3), BGR: the product's box.
        alpha: float32 (H, W), 0 where the background is, 1 where the product is.
        background: uint8 (3,), BGR: the background's colour.
    """

    image: Image
    alpha: NDArray[np.float32]
    background: NDArray[np.uint8]


def is_catalogue(jpeg: bytes) -> bool:
    """Whether a kept JPEG says that it is a catalogue picture."""
    at = _after_jfif(jpeg)
    return jpeg[at : at + len(_MARK)] == _MARK


def encode_catalogue(image: Image) -> bytes:
    """Encode a catalogue picture, at most `CATALOGUE_SIDE` pixels long, as a JPEG that says so.

    Raises:
        ImageError: If it is no picture.
    """
    jpeg = encode_jpeg(_reduced(image, CATALOGUE_SIDE))
    at = _after_jfif(jpeg)
    return jpeg[:at] + _MARK + jpeg[at:]


def inspect_catalogue(image: Image) -> list[Finding]:
    """Return what is wrong with a catalogue picture; nothing if it may be registered.

    Args:
        image: uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If it is no picture.
    """
    found = inspect_picture(image, on_white=True)
    if found:
        return found
    try:
        cut_out(image)
    except ImageError as error:
        return [Finding("background", error.what, error.fix or "")]
    return []


def catalogue_views(image: Image) -> list[Image]:
    """Return the views whose embeddings' mean stands for the product of a catalogue picture.

    The product framed, twice nearer, and turned by a quarter; many of it; nothing but it. Without
    a plain background there is no telling product from background, and the views are those of any
    snapshot: the picture and its middle, twice nearer.

    Args:
        image: uint8 (H, W, 3), BGR.

    Returns:
        Three or six images, uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If it is no picture.
    """
    check_image(image)
    try:
        cut = cut_out(image)
    except ImageError:
        return [cropped(image, share) for share in CROPS]
    framed = _framed(cut)
    return [
        *(cropped(framed, share) for share in CROPS),
        np.ascontiguousarray(np.rot90(framed)),
        cropped(cut.image, INTERIOR),
        _many(cut),
    ]


def cut_out(image: Image) -> CutOut:
    """Cut the product out of a picture with a plain background.

    The background is what joins the border and is of the border's median colour, within
    `TOLERANCE`. What it encloses belongs to the product, and so do parts of at least a twentieth
    of the largest part.

    Args:
        image: uint8 (H, W, 3), BGR.

    Raises:
        ImageError: If the background is not plain, or there is nothing on it.
    """
    check_image(image)
    cv2: Any = require("cv2")
    image = _reduced(image, CATALOGUE_SIDE)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    colour = np.median(border, axis=0)
    like = np.abs(image.astype(np.int16) - colour).max(axis=2) <= TOLERANCE
    edge = np.concatenate([like[0], like[-1], like[:, 0], like[:, -1]])
    if edge.mean() < PLAIN_BORDER:
        raise ImageError(
            f"no plain background: {100 * edge.mean():.0f} % of the border is of one colour, at "
            f"least {100 * PLAIN_BORDER:.0f} % are needed",
            fix="give a picture on white, or register it without --catalogue",
        )
    joined = np.pad(like.astype(np.uint8), 1, constant_values=1)
    _, parts = cv2.connectedComponents(joined, connectivity=4)
    product = _largest(cv2, (parts != parts[0, 0])[1:-1, 1:-1].astype(np.uint8))
    if product.mean() < SMALLEST_PRODUCT:
        raise ImageError(
            f"nothing on its plain background: {100 * product.mean():.1f} % of it differ",
            fix="give a picture that the product fills",
        )
    rows, columns = np.flatnonzero(product.any(axis=1)), np.flatnonzero(product.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    alpha = cv2.GaussianBlur(cv2.erode(product, np.ones((3, 3))).astype(np.float32), (0, 0), 1.0)
    return CutOut(image[box], alpha[box], colour.astype(np.uint8))


def _after_jfif(jpeg: bytes) -> int:
    """Return where a JPEG's first segment ends if that is JFIF's, and begins if not."""
    jfif = jpeg[2:4] == b"\xff\xe0"
    return 4 + int.from_bytes(jpeg[4:6], "big") if jfif else 2


def _largest(cv2: Any, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask without specks: parts of less than a twentieth of the largest."""
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return np.zeros_like(mask)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = np.isin(parts, np.flatnonzero(areas >= areas.max() / 20)) & (parts > 0)
    product: NDArray[np.uint8] = kept.astype(np.uint8)
    return product


def _framed(cut: CutOut) -> Image:
    """Return the product in the middle of a square of its background that it just fills."""
    height, width = cut.image.shape[:2]
    side = max(height, width)
    canvas = np.full((side, side, 3), cut.background, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = cut.image
    return canvas


def _many(cut: CutOut) -> Image:
    """Return many of the product, beside and over each other, on its background."""
    cv2: Any = require("cv2")
    rng = np.random.default_rng(0)
    scale = COPY * _SIDE / max(cut.image.shape[:2])
    size = [max(2, round(side * scale)) for side in cut.image.shape[1::-1]]
    copy = cv2.resize(cut.image, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(cut.alpha, size, interpolation=cv2.INTER_AREA)
    reach = round(COPY * _SIDE)  # no turned copy is longer than twice that
    canvas = np.full((_SIDE + 2 * reach, _SIDE + 2 * reach, 3), cut.background, np.float32)
    for x, y in _places(size, rng):
        matrix = cv2.getRotationMatrix2D(
            (size[0] / 2, size[1] / 2), rng.uniform(-COPY_TURN, COPY_TURN), rng.uniform(0.9, 1.1)
        )
        matrix[:, 2] += (reach - size[0] / 2, reach - size[1] / 2)
        window = (2 * reach, 2 * reach)
        shown = cv2.warpAffine(copy, matrix, window, borderMode=cv2.BORDER_REPLICATE)
        opaque = cv2.warpAffine(alpha, matrix, window)[:, :, None]
        under = canvas[y : y + 2 * reach, x : x + 2 * reach]
        under += (rng.uniform(COPY_LIGHT, 1.0) * shown - under) * opaque
    inner = slice(reach, reach + _SIDE)
    return np.clip(canvas[inner, inner], 0, 255).astype(np.uint8)


def _places(size: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return where copies lie, (N, 2): in rows, every other one moved by half, all a little off."""
    step = np.maximum(size, _SIDE // 16) * (0.85, 0.8)
    rows = np.arange(0.0, _SIDE + step[1] / 2, step[1])
    columns = np.arange(-step[0] / 2, _SIDE, step[0])
    grid = [(x + step[0] / 2 * (n % 2), y) for n, y in enumerate(rows) for x in columns]
    off = rng.uniform(-0.15, 0.15, (len(grid), 2)) * step
    places = np.clip(np.array(grid) + off, 0, _SIDE).round().astype(np.int64)
    return rng.permutation(places)


def _reduced(image: Image, longest: int) -> Image:
    """Return the picture with its longer side at most `longest` pixels."""
    check_image(image)
    cv2: Any = require("cv2")
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    reduced: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return reduced
