"""A detector: an ONNX file of the user's choice that finds things of whatever class.

What they are is the gallery's to say; the detector says where. It is for scenes whose background
is cluttered, or changes, so that no picture of it empty would do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image, check_image
from vision_edge.runtime.errors import DetectorError, VisionEdgeError, require
from vision_edge.runtime.images.locating import EmptyScene, Found
from vision_edge.runtime.inference.detector_layouts import Layout, layout_of

Values = Literal["auto", "0-1", "0-255", "imagenet"]
VALUES: tuple[Values, ...] = ("auto", "0-1", "0-255", "imagenet")
Colour = Literal["auto", "rgb", "bgr"]
COLOURS: tuple[Colour, ...] = ("auto", "rgb", "bgr")
_SIZE = 640
"""Side of the picture for a model that takes any."""
_FILL = 114
"""Grey beside a picture that keeps its shape, as the YOLO family is trained with."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EDGE = 0.004
"""Share of a side within which a box touches the border."""
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class DetectorSettings:
    """A detector, and which of its boxes count.

    Attributes:
        path: The ONNX file.
        score: Least score of a box, 0 to 1.
        overlap: Of two boxes that overlap more than this (intersection over union), the less sure
            one goes; 1 keeps all.
        values: Pixels as the model takes them: `"0-1"`, `"0-255"`, `"imagenet"` (mean and standard
            deviation of ImageNet), or `"auto"`: as is usual for its outputs' layout.
        colour: Order of its channels: `"rgb"`, `"bgr"`, or `"auto"` likewise.

    Raises:
        VisionEdgeError: If a value is out of its range.
    """

    path: Path
    score: float = 0.3
    overlap: float = 0.5
    values: Values = "auto"
    colour: Colour = "auto"

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value, low in (("score", self.score, 0.0), ("overlap", self.overlap, 0.05)):
            if not low <= value <= 1:
                raise VisionEdgeError(
                    f"the detector's {name} is from {low:g} to 1; got {value!r}",
                    fix="leave it out for the usual one",
                )
        for word, known, what in (
            (self.values, VALUES, "pixel values"), (self.colour, COLOURS, "colour order"),
        ):  # fmt: skip
            if word not in known:
                raise VisionEdgeError(
                    f"unknown {what} {word!r} of a detector", fix=f"use one of {', '.join(known)}"
                )


@dataclass(frozen=True)
class _Port:
    """How the model takes its picture."""

    name: str
    size: tuple[int, int]
    dtype: str
    last: bool
    batched: bool
    sizes: str | None


class Detector:
    """Finds things by a detector's model; a `Locator`.

    Args:
        settings: The file, and which boxes count.
        threads: CPU threads of one inference.

    Attributes:
        layout: How its outputs are read.

    Raises:
        DetectorError: If the file is no ONNX model, or no detector that is understood.
    """

    doubt: str | None = None
    scene: EmptyScene | None = None

    def __init__(self, settings: DetectorSettings, threads: int | None = None) -> None:
        self._settings = settings
        self._session = _opened(settings.path, threads)
        try:
            self._port = _port(self._session.get_inputs())
            outputs = {port.name: tuple(port.shape) for port in self._session.get_outputs()}
            self.layout: Layout = layout_of(outputs, self._port.size)
        except DetectorError as error:
            raise DetectorError(f"{settings.path}: {error.what}", fix=error.fix) from None
        self._names = list(outputs)
        self.find_all(np.full((64, 64, 3), _FILL, np.uint8))  # so that the first frame is not slow

    def find_all(self, image: Image) -> list[Found]:
        """Find everything in a picture, from left to right.

        Args:
            image: uint8 (H, W, 3), BGR.

        Raises:
            DetectorError: If the model fails, or puts out what its layout does not say.
        """
        check_image(image)
        prepared, scale, offset = self._prepared(image)
        boxes, scores = self._detections(prepared)
        good = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (scores >= self._settings.score))
        height, width = image.shape[:2]
        corners = (boxes[good] - np.tile(offset, 2)) / np.tile(scale, 2)
        corners = corners.clip(0, np.array([width, height, width, height]))
        kept = self._distinct(corners, scores[good])
        found = [_found(corners[k], float(scores[good[k]]), (width, height)) for k in kept]
        return sorted((one for one in found if one is not None), key=lambda one: one.box)

    def _detections(
        self, prepared: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the model; return boxes in pixels of its picture, and scores."""
        feeds: dict[str, NDArray[Any]] = {self._port.name: prepared}
        if self._port.sizes is not None:
            feeds[self._port.sizes] = np.array([self._port.size], np.int64)
        try:
            outputs = self._session.run(self._names, feeds)
            named = {
                n: np.asarray(o, np.float32) for n, o in zip(self._names, outputs, strict=True)
            }
            boxes, scores = self.layout.read(named, self._port.size)
        except Exception as error:  # ONNX Runtime's own, and shapes that are not what they say
            raise DetectorError(
                f"{self._settings.path}: the detector fails: {str(error).splitlines()[0][:200]}",
                fix="export it for one picture, with a fixed size",
            ) from error
        return boxes, scores

    def _distinct(self, corners: NDArray[Any], scores: NDArray[Any]) -> list[int]:
        """Return which boxes stay when of those that overlap the surest does."""
        if not len(corners):
            return []
        cv2 = require("cv2")
        sized = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        least, most = self._settings.score, self._settings.overlap
        kept = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), max(0.0, least - 1e-6), most)
        return [int(k) for k in np.asarray(kept).reshape(-1)]

    def _prepared(self, image: Image) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the picture as the model takes it, and how it was scaled and moved."""
        cv2 = require("cv2")
        height, width = image.shape[:2]
        size = np.array(self._port.size)
        scale = size / (width, height)
        if not self.layout.stretched:
            scale = np.full(2, scale.min())
        inner = np.maximum(1, np.rint(scale * (width, height)).astype(int)).tolist()
        kernel = cv2.INTER_AREA if scale.max() < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, inner, interpolation=kernel)
        centred = self.layout.name != "YOLOX"  # which is trained with its picture in the corner
        offset = (size - inner) // 2 if centred else np.zeros(2, int)
        canvas = np.full((size[1], size[0], 3), _FILL, np.uint8)
        canvas[offset[1] : offset[1] + inner[1], offset[0] : offset[0] + inner[0]] = small
        return self._valued(canvas), np.array(inner) / (width, height), offset

    def _valued(self, canvas: Image) -> NDArray[Any]:
        """Return uint8 (H, W, 3) BGR as the model's values, channels and axes."""
        settings, layout, port = self._settings, self.layout, self._port
        colour = layout.colour if settings.colour == "auto" else settings.colour
        values = layout.values if settings.values == "auto" else settings.values
        pixels: NDArray[Any] = canvas[..., ::-1] if colour == "rgb" else canvas
        if port.dtype != "uint8":
            pixels = pixels.astype(np.float32) / (255 if values != "0-255" else 1)
            if values == "imagenet":
                pixels = (pixels - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        pixels = pixels if port.last else pixels.transpose(2, 0, 1)
        batch = pixels[None] if port.batched else pixels
        return np.ascontiguousarray(batch.astype(port.dtype))


def _opened(path: Path, threads: int | None) -> Any:
    """Open the file in ONNX Runtime, on the CPU."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not path.is_file():
        raise DetectorError(f"{path}: there is no such detector", fix="give an ONNX file")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        said = str(error).splitlines()[0][:200]
        raise DetectorError(f"{path}: is no ONNX model ({said})", fix="export it again") from error


def _port(inputs: list[Any]) -> _Port:
    """Return how a model takes its picture.

    Raises:
        DetectorError: If its inputs are not those of one picture.
    """
    said = ", ".join(f"{port.name} {port.type} {port.shape}" for port in inputs)
    wrong = DetectorError(
        f"its inputs are not those of one picture: {said}",
        fix="export it for one picture: (1, 3, H, W), (1, H, W, 3) or (3, H, W)",
    )
    pictures = [port for port in inputs if port.type in _DTYPES and len(port.shape) in (3, 4)]
    others = [port for port in inputs if port not in pictures]
    if len(pictures) != 1 or len(others) > 1 or any("int64" not in o.type for o in others):
        raise wrong
    (picture,) = pictures
    shape = list(picture.shape)
    batched = len(shape) == 4
    sides = shape[1:] if batched else shape
    last = sides[0] != 3 and sides[2] == 3
    single = not batched or not isinstance(shape[0], int) or shape[0] == 1
    channels = sides[2] if last else sides[0]
    if not single or (isinstance(channels, int) and channels != 3):
        raise wrong
    height, width = sides[:2] if last else sides[1:]
    size = tuple(side if isinstance(side, int) and side > 0 else _SIZE for side in (width, height))
    sizes = others[0].name if others else None
    return _Port(picture.name, size, _DTYPES[picture.type], last, batched, sizes)  # type: ignore[arg-type]


def _found(corners: NDArray[Any], score: float, size: tuple[int, int]) -> Found | None:
    """Return a box in whole pixels; None of one without any."""
    x0, y0, x1, y1 = (round(float(value)) for value in corners)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    slack_x, slack_y = (_EDGE * side for side in size)
    inside = x0 > slack_x and y0 > slack_y and x1 < size[0] - slack_x and y1 < size[1] - slack_y
    return Found((x0, y0, x1, y1), inside, score)
