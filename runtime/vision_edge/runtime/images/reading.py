"""How pixels become uint8 BGR: depth, transparency, orientation. Nothing is guessed in silence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError, UnsaidError
from vision_edge.runtime.images.picture_header import Header

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Reading:
    """What files do not say of themselves, and the user may.

    Attributes:
        bits: Bits a channel that are in use in pictures of 16 bits, 8 to 16; None: only pictures
            that say it, or that use more than 14, are read.
        background: Colour in RGB order, 0 to 255, on which transparent pictures are laid.
    """

    bits: int | None = None
    background: tuple[int, int, int] = WHITE

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ImageError: If one of them is out of range.
        """
        if self.bits is not None and not 8 <= self.bits <= 16:
            raise ImageError(
                f"{self.bits} bits a channel are none that are read", fix="use 8 to 16"
            )
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise ImageError(
                f"{self.background} is no colour", fix="give red, green and blue, 0 to 255 each"
            )

    @property
    def background_text(self) -> str:
        """The background as `#rrggbb`."""
        return "#" + bytes(self.background).hex()


AS_IT_SAYS = Reading()


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return a colour, RGB 0 to 255, from `#rrggbb`.

    Raises:
        ImageError: If it is none.
    """
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        raise ImageError(f"{text!r} is no colour", fix="give it as #rrggbb, such as #ffffff")
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def as_seen(pixels: NDArray[np.generic], header: Header, reading: Reading, name: str) -> Image:
    """Return decoded pixels as they are to be seen: uint8 (H, W, 3), BGR, upright, opaque.

    Args:
        pixels: uint8 or uint16, (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGR and alpha.
        header: What the file says of them; `orientation` is applied.
        reading: What the user says of them.
        name: What to call the picture in an error.

    Raises:
        ImageError: If they are of another type, or their depth is not known.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3):
        raise ImageError(
            f"{name}: pixels of {pixels.dtype} have no agreed white", fix="save it with 8 bits"
        )
    opacity = _opacity(pixels, header, name)
    colours = pixels if pixels.ndim == 2 else pixels[..., : 3 if pixels.shape[2] > 2 else 1]
    visible = colours if opacity is None else colours[opacity > 0]
    full = _full(pixels.dtype, int(visible.max(initial=0)), header, reading, name)
    eight = _to_eight(colours, full)
    bgr = np.repeat(eight.reshape(*eight.shape[:2], -1), 3, axis=2) if _grey(eight) else eight
    alpha = None if opacity is None else _alpha(opacity, full)
    laid = bgr if alpha is None else _laid_on(bgr, alpha, header, reading.background)
    return np.ascontiguousarray(turned(laid, header.orientation))


def turned(image: Image, orientation: int) -> Image:
    """Return an image (H, W, ...) as EXIF's orientation, 1 to 8, says it is to be shown."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def depth_of(largest: int, header: Header, reading: Reading, name: str) -> int:
    """Return how many bits of a 16-bit picture are in use.

    Args:
        largest: The largest value of its pixels that are seen.
        header: What the file says.
        reading: What the user says.
        name: What to call the picture in an error.

    Raises:
        ImageError: If nobody says, or what is said does not fit the values.
    """
    bits = _png_depth(largest, header, reading) or header.significant or reading.bits
    if bits is None and largest and largest < 1 << 14:
        least = max(8, largest.bit_length())
        likely = least + least % 2
        raise UnsaidError(
            f"{name}: a file of 16 bits a channel of which only {least} bits are used (its largest "
            f"value is {largest} of 65535): a {likely}-bit camera's picture, or a very dark one",
            fix=f"say which: --bits {likely} for such a camera, --bits 16 if it is truly dark (a "
            f"station's source: bits = {likely})",
        )
    bits = bits or 16
    if largest >= 1 << bits:
        raise UnsaidError(
            f"{name}: its largest value is {largest}, more than {bits} bits hold",
            fix="give --bits 16, or the number of bits that the camera delivers",
        )
    return bits


def _png_depth(largest: int, header: Header, reading: Reading) -> int | None:
    """Return the bits of a PNG with `sBIT`; None where there is none.

    A PNG's samples are to be scaled to the full depth, whatever `sBIT` says (PNG 3rd edition,
    section 11.3.2.4); some writers leave them at the low end. A value that needs more bits than
    `sBIT` says tells that they are scaled. That the user says 16 counts for more.
    """
    if header.kind != "PNG" or header.significant is None:
        return None
    scaled = largest >= 1 << header.significant
    return 16 if scaled or reading.bits == 16 else header.significant


def _full(
    dtype: np.dtype[np.generic], largest: int, header: Header, reading: Reading, name: str
) -> int:
    """Return the value that stands for white.

    Raises:
        ImageError: If nobody says, or what is said does not fit the largest value that is seen.
    """
    if header.most is None:
        return 255 if dtype == np.uint8 else (1 << depth_of(largest, header, reading, name)) - 1
    if largest > header.most:
        raise ImageError(
            f"{name}: its largest value is {largest}, more than the {header.most} that it says",
            fix="copy or take it again",
            kind=f"damaged {header.kind}",
        )
    return header.most


def _to_eight(pixels: NDArray[np.generic], full: int) -> NDArray[np.uint8]:
    if full == 255 and pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    held = np.minimum(pixels.astype(np.uint32), full)  # what nobody sees may be more
    return ((held * 255 + full // 2) // full).astype(np.uint8)


def _opacity(pixels: NDArray[np.generic], header: Header, name: str) -> NDArray[Any] | None:
    """Return how opaque each pixel is, (H, W), as stored; None where nothing says it.

    Raises:
        ImageError: If the file has transparency that the decoder dropped.
    """
    if header.key is not None and pixels.ndim == 2:
        most = 255 if pixels.dtype == np.uint8 else 65535
        return np.where(pixels != header.key, most, 0).astype(pixels.dtype)
    if not header.alpha:
        return None
    if pixels.ndim == 2 or pixels.shape[2] not in (2, 4):
        if header.kind in ("GIF", "WebP"):  # they only say that there might be some
            return None
        raise ImageError(
            f"{name}: a {header.kind} of a kind whose transparency OpenCV cannot read",
            fix="save it as PNG, or without transparency",
        )
    return pixels[..., -1]


def _alpha(opacity: NDArray[Any], full: int) -> NDArray[np.float32] | None:
    """Return how opaque each pixel is, float32 (H, W), 0 to 1; None where all are.

    It has the depth of the colours where its values fit that, else all the bits of its type.
    """
    largest = int(opacity.max(initial=0))
    most = full if largest <= full else int(np.iinfo(opacity.dtype).max)
    return None if (opacity == most).all() else np.asarray(opacity, np.float32) / np.float32(most)


def _laid_on(
    image: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    header: Header,
    background: tuple[int, int, int],
) -> Image:
    share, colour = alpha[..., None], np.array(background[::-1], np.float32)
    shown = image if header.premultiplied else image * share
    return np.rint(np.minimum(shown + colour * (1 - share), 255)).astype(np.uint8)


def _grey(image: NDArray[np.uint8]) -> bool:
    return image.ndim == 2 or image.shape[2] == 1
