"""What transformers' files beside weights say of preprocessing, as mean and std of [0, 1] pixels.

transformers multiplies pixels of 0 to 255 by `rescale_factor`, then subtracts the mean and divides
by the standard deviation; each step can be left out. All of it is one affine map, so that a mean
and a standard deviation of pixels in [0, 1] say the same. What they cannot say is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import Triple

PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"
MOST_MEAN = 1.5
"""Largest mean of pixels in [0, 1] that makes sense; those of 0 to 255 lie far above."""
MOST_STD = 10.0
"""Largest standard deviation of the same; 1 is where nothing is divided."""
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
KERNELS = ("bilinear", "bicubic")
"""Kernels for enlarging that the runtime has."""
_OTHERWISE = {
    "rescale_offset": "shifts pixels to -1 and above",
    "do_flip_channel_order": "wants the channels in the order B, G, R",
    "do_grayscale": "wants grey pictures",
}
_TRIPLE: TypeAdapter[Triple] = TypeAdapter(Triple)
_FIX = "give --mean and --std, of RGB pixels in [0, 1]; they go before the file"


@dataclass(frozen=True)
class Preprocessing:
    """What a file says; None where it says nothing.

    Attributes:
        mean: Mean per RGB channel of pixels in [0, 1].
        std: Standard deviation per RGB channel of the same.
        interpolation: Kernel by Pillow's name of it, which the runtime may not have.
        problem: Why mean and std cannot be taken, to be raised where nothing else gives them.
    """

    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    problem: BackboneError | None = None


def transformers_preprocessing(document: Mapping[str, Any], where: str) -> Preprocessing:
    """Understand a `preprocessor_config.json`, or what a `processor_config.json` holds of it.

    Args:
        document: The file's contents.
        where: The file, for messages.
    """
    kernel = kernel_name(document.get("resample"))
    try:
        mean, std = _affine(document, where)
    except BackboneError as problem:
        return Preprocessing(None, None, kernel, problem)
    return Preprocessing(mean, std, kernel)


def triple(document: Mapping[str, Any], key: str, where: str) -> Triple | None:
    """Return three numbers that a file states.

    Raises:
        BackboneError: If it states something else.
    """
    value = document.get(key)
    if value is None:
        return None
    try:
        return _TRIPLE.validate_python(tuple(value) if isinstance(value, list) else value)
    except ValidationError as error:
        raise BackboneError(
            f"{where}: states {key} {value!r:.80}, which is not three numbers", fix=_FIX
        ) from error


def kernel_name(value: object) -> str | None:
    """Return the name of a kernel that a file states by Pillow's number or by name."""
    if value is None:
        return None
    known = type(value) is int and 0 <= value < len(_RESAMPLE)
    return _RESAMPLE[value] if known else str(value)  # type: ignore[call-overload]


def check_range(mean: Triple, std: Triple) -> None:
    """Raise if a mean or a standard deviation is of pixels of 0 to 255.

    Raises:
        BackboneError: With the same values for pixels in [0, 1].
    """
    for name, values, most in (("mean", mean, MOST_MEAN), ("std", std, MOST_STD)):
        if max(map(abs, values)) > most:
            scaled = ",".join(f"{value / 255:.4g}" for value in values)
            raise BackboneError(
                f"preprocessing {name}: {values} is not of pixels in [0, 1] (at most {most:g}); "
                "pixels are divided by 255 first",
                fix=f"give --{name} {scaled}, if these are of pixels of 0 to 255",
            )


def _affine(document: Mapping[str, Any], where: str) -> tuple[Triple | None, Triple | None]:
    for key, what in _OTHERWISE.items():
        if document.get(key):
            raise BackboneError(f"{where}: {key} {what}, which is not done here", fix=_FIX)
    mean, std = (triple(document, f"image_{kind}", where) for kind in ("mean", "std"))
    whole = _whole(document, mean, where)
    if document.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif whole != 1 and (mean is None or std is None):
        raise BackboneError(
            f"{where}: scales pixels otherwise than to [0, 1], and states no mean and std", fix=_FIX
        )
    return _divided(mean, whole), _divided(std, whole)


def _whole(document: Mapping[str, Any], mean: Triple | None, where: str) -> float:
    """Return what a pixel of 255 is after rescaling."""
    if document.get("do_rescale") is False:
        if document.get("do_normalize") is False or mean is None or max(mean) <= MOST_MEAN:
            raise BackboneError(
                f"{where}: do_rescale is false and the mean is not of pixels of 0 to 255: what "
                "scales the pixels is not said",
                fix=_FIX,
            )
        return 255.0
    factor = document.get("rescale_factor")
    if factor is None:
        return 1.0
    if type(factor) not in (int, float) or not 0 < factor <= 1:
        raise BackboneError(
            f"{where}: states rescale_factor {factor!r:.80}, which is no number above 0 and up to "
            "1",
            fix=_FIX,
        )
    whole = 255.0 * factor
    return 1.0 if abs(whole - 1) < 1e-3 else whole


def _divided(values: Triple | None, whole: float) -> Triple | None:
    if values is None or whole == 1:
        return values
    red, green, blue = (value / whole for value in values)
    return red, green, blue
