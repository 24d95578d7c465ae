"""The one preprocessing function: a frame of any size becomes the model's uint8 input.

Toolkit, export and edge all call `prepare`, so the model sees the same pixels wherever it runs.
Colour order, scaling and normalisation are not here: they are inside the exported graph.
Nothing is ever guessed from pixel values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vision_edge.runtime.errors import ImageError, require

Image = NDArray[np.uint8]
"""uint8 (H, W, 3), BGR, 0 to 255."""

Triple = tuple[float, float, float]
MAX_PIXELS = 100_000_000


class PreprocessSpec(BaseModel):
    """What a model expects of its input. Immutable; it travels in the bundle's manifest.

    Attributes:
        size: Side of the model's square input, in pixels.
        crop_pct: Share of the resized short side that the centre crop keeps, in (0, 1].
        interpolation: Kernel for enlarging. Reducing always averages areas (OpenCV's
            `INTER_AREA`), because OpenCV's other kernels alias when they reduce.
        mean: Mean per channel, in RGB order, of pixel values scaled to [0, 1].
        std: Standard deviation per channel, in RGB order, of the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=8, le=4096)] = 224
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: Triple = (0.5, 0.5, 0.5)
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ] = (0.5, 0.5, 0.5)


def prepare(image: Image, spec: PreprocessSpec) -> Image:
    """Resize the short side to the model's size and crop the centre square.

    Args:
        image: uint8 (H, W, 3), BGR, 0 to 255.
        spec: What the model expects.

    Returns:
        uint8 (size, size, 3), BGR, 0 to 255, contiguous.

    Raises:
        ImageError: If the image is empty, not uint8 with three channels, or far too elongated.
    """
    check_image(image)
    height, width = image.shape[:2]
    if (height, width) == (spec.size, spec.size) and spec.crop_pct == 1.0:
        return np.ascontiguousarray(image)
    short = max(spec.size, round(spec.size / spec.crop_pct))
    scale = short / min(height, width)
    target = (max(short, round(width * scale)), max(short, round(height * scale)))
    if target[0] * target[1] > MAX_PIXELS:
        raise ImageError(
            f"an image of {width}x{height} pixels is too long and narrow for a square model input",
            fix="crop it first",
        )
    resized = _resize(image, target, spec.interpolation)
    top = (resized.shape[0] - spec.size) // 2
    left = (resized.shape[1] - spec.size) // 2
    return np.ascontiguousarray(resized[top : top + spec.size, left : left + spec.size])


def check_image(image: Image, name: str = "image") -> None:
    """Raise `ImageError` unless `image` is a non-empty uint8 (H, W, 3) array."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"{name} must be a non-empty uint8 array (H, W, 3) in BGR order; "
            f"got {image.dtype} {image.shape}",
            fix="read images with vision_edge.runtime.read_image, or convert them with OpenCV",
        )


def _resize(image: Image, target: tuple[int, int], interpolation: str) -> Image:
    """Resize to `target` (width, height)."""
    cv2 = require("cv2")
    enlarging = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
    reducing = target[0] < image.shape[1]
    resized: Image = cv2.resize(
        image, target, interpolation=cv2.INTER_AREA if reducing else enlarging
    )
    return resized


def decode_image(data: bytes, name: str) -> Image:
    """Decode an encoded image (JPEG, PNG, WebP, BMP, ...) to BGR.

    Grey images become three equal channels, alpha is dropped, 16-bit is scaled to 8, and EXIF
    orientation is applied.

    Args:
        data: The encoded file's bytes.
        name: What to call it in an error.

    Returns:
        uint8 (H, W, 3), BGR, 0 to 255.

    Raises:
        ImageError: If the bytes are empty, cut short, cannot be decoded, or hold too many pixels.
    """
    cv2 = require("cv2")
    if not data:
        raise ImageError(f"{name}: the file is empty", fix="replace or remove it")
    if is_jpeg(data) and _is_cut_short(data):
        raise ImageError(
            f"{name}: a JPEG that is cut short ({len(data)} bytes)", fix="copy or take it again"
        )
    _check_pixels(jpeg_size(data) or (0, 0), name)  # a small file may claim gigabytes of pixels
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded ({error.err})", fix="re-save it") from None
    if image is None or image.size == 0:
        raise ImageError(
            f"{name}: not an image that OpenCV can decode ({len(data)} bytes)",
            fix="replace or remove it; JPEG, PNG, WebP, BMP and TIFF are read",
        )
    _check_pixels((image.shape[1], image.shape[0]), name)
    decoded: Image = image
    return decoded


def is_jpeg(data: bytes) -> bool:
    """Whether an encoded image is a JPEG, by its first bytes."""
    return data[:3] == b"\xff\xd8\xff"


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height as a JPEG's header says, or None if it is no well-formed JPEG."""
    at = 2 if is_jpeg(data) else len(data)
    while len(data) >= at + 9 and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _check_pixels(size: tuple[int, int], name: str) -> None:
    """Refuse an image of too many pixels; `size` is (width, height)."""
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} pixels is over the limit of {MAX_PIXELS:,}",
            fix="crop or reduce it first",
        )


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker.

    OpenCV 5 refuses such a file; OpenCV 4 shows what it has, and makes up the rest.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":  # up to the pixels
        fill = data[at + 1 : at + 2] == b"\xff"
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0


def read_image(path: Path | str) -> Image:
    """Read an image file as `decode_image` does.

    Raises:
        ImageError: If the file is absent, unreadable, empty or not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
    return decode_image(data, str(path))


def encode_jpeg(image: Image, quality: int = 95) -> bytes:
    """Encode a BGR uint8 (H, W, 3) image as JPEG.

    Raises:
        ImageError: If the image is not valid or OpenCV cannot encode it.
    """
    check_image(image)
    cv2 = require("cv2")
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f"an image of shape {image.shape} could not be encoded as JPEG")
    return bytes(buffer.tobytes())
