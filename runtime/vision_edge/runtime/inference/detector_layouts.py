"""What detectors put out, read from the names and shapes of their outputs.

Five layouts cover the exports that are common. Each is read into boxes in pixels of the picture
that the model was given and one score a box: how sure it is that there is a thing, of whatever
class, since the gallery says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.errors import DetectorError

Array = NDArray[np.float32]
Shape = Sequence[int | str | None]
Detections = tuple[Array, Array]
"""Boxes, float32 (N, 4) as x0, y0, x1, y1 in pixels of the model's picture, and scores (N,)."""
_STRIDES = (8, 16, 32)
_END_TO_END = 1000
"""Rows of a list that is already sorted out; what a grid puts out has more."""


@dataclass(frozen=True)
class Layout:
    """How a detector's outputs are read.

    Attributes:
        name: One word or two, for notes and errors.
        values: What pixels such models take unless told otherwise: `"0-1"`, `"0-255"`.
        colour: `"rgb"` or `"bgr"`, likewise.
        stretched: Whether the picture is stretched to the model's size; else it keeps its shape.
        read: Makes detections of the outputs by name, given the model's (width, height).
    """

    name: str
    values: str
    colour: str
    stretched: bool
    read: Callable[[Mapping[str, Array], tuple[int, int]], Detections]


def layout_of(outputs: Mapping[str, Shape], size: tuple[int, int]) -> Layout:
    """Return how outputs of these names and shapes are read.

    Args:
        outputs: Shape by name; a number, or a name or None where it varies.
        size: The model's picture, (width, height).

    Raises:
        DetectorError: If they are no detector's, or one of another kind.
    """
    boxes = _named(outputs, "box")
    if len(outputs) == 1:
        name, shape = next(iter(outputs.items()))
        found = _single(name, shape, size)
    elif boxes is not None:
        found = _several(outputs, boxes)
    else:
        found = None
    if found is None:
        said = ", ".join(f"{name} {_shown(shape)}" for name, shape in outputs.items())
        raise DetectorError(
            f"its outputs are none of a detector that is understood: {said}",
            fix="export one of: YOLO (1, 4 + classes, N) or (1, N, 5 + classes), YOLOX, "
            "boxes with logits (DETR, RT-DETR), boxes with scores (D-FINE, SSD, torchvision)",
        )
    return found


def _single(name: str, shape: Shape, size: tuple[int, int]) -> Layout | None:
    """Return the layout of one output, (1, rows, columns)."""
    if len(shape) != 3:
        return None
    rows, columns = shape[1], shape[2]
    cells = sum((size[0] // s) * (size[1] // s) for s in _STRIDES)
    if columns == 6 and (not isinstance(rows, int) or rows <= _END_TO_END):
        return Layout("end-to-end YOLO", "0-1", "rgb", False, lambda o, _: _corners(o[name][0]))
    if isinstance(rows, int) and rows >= 5 and (not isinstance(columns, int) or columns > rows):
        return Layout("YOLO", "0-1", "rgb", False, lambda o, _: _yolo(o[name][0].T))
    if not isinstance(columns, int) or columns < 6:
        return None
    if rows == cells:
        read = lambda o, s: _yolox(o[name][0], s)  # noqa: E731
        return Layout("YOLOX", "0-255", "bgr", False, read)
    return Layout("YOLO with objectness", "0-1", "rgb", False, lambda o, _: _objects(o[name][0]))


def _several(outputs: Mapping[str, Shape], boxes: str) -> Layout | None:
    """Return the layout of boxes with something beside them."""
    last = outputs[boxes][-1] if outputs[boxes] else 0
    if isinstance(last, int) and last != 4:
        return None
    logits = _named(outputs, "logit")
    if logits is not None:
        read = lambda o, s: _detr(_rows(o[boxes]), _table(o[logits]), s)  # noqa: E731
        return Layout("boxes with logits", "0-1", "rgb", True, read)
    scores = _named(outputs, "score") or _named(outputs, "conf")
    if scores is None:
        return None
    first_is_y = "detection_boxes" in boxes  # as TensorFlow's object detection names and orders
    values = "0-255" if first_is_y else "0-1"
    read = lambda o, s: _scored(_rows(o[boxes]), o[scores], s, first_is_y)  # noqa: E731
    return Layout("boxes with scores", values, "rgb", True, read)


def _named(outputs: Mapping[str, Shape], part: str) -> str | None:
    return next((name for name in outputs if part in name.lower()), None)


def _shown(shape: Shape) -> str:
    return "(" + ", ".join("?" if side is None else str(side) for side in shape) + ")"


def _rows(array: Array) -> Array:
    """Return (N, 4) of (1, N, 4) or (N, 4)."""
    return array.reshape(-1, 4)


def _table(array: Array) -> Array:
    """Return (N, classes) of (1, N, classes) or (N, classes)."""
    return array.reshape(-1, array.shape[-1])


def _from_centres(rows: Array) -> Array:
    """Return corners of (N, 4) as centre x, centre y, width, height."""
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)


def _yolo(rows: Array) -> Detections:
    """Read centre, size and a score a class: YOLOv8 and after, without end-to-end."""
    return _from_centres(rows), rows[:, 4:].max(axis=1)


def _objects(rows: Array) -> Detections:
    """Read centre, size, objectness and a score a class: YOLOv5 and v7."""
    return _from_centres(rows), rows[:, 4] * rows[:, 5:].max(axis=1)


def _corners(rows: Array) -> Detections:
    """Read corners, score and class: YOLOv10 and others without suppression."""
    return rows[:, :4], rows[:, 4]


def _yolox(rows: Array, size: tuple[int, int]) -> Detections:
    """Read YOLOX's rows, relative to their cells unless the export has decoded them.

    Ge et al., "YOLOX: Exceeding YOLO series in 2021", section 2.1: a cell predicts its box's offset
    and the logarithm of its size, in strides. Offsets of a decoded export reach across the picture.
    """
    if float(np.abs(rows[:, :2]).max(initial=0.0)) > 0.4 * max(size):
        return _objects(rows)
    grids, strides = [], []
    for stride in _STRIDES:
        x, y = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        grids.append(np.stack([x, y], axis=2).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride, np.float32))
    grid, stride_of = np.concatenate(grids), np.concatenate(strides)
    decoded = rows.copy()
    decoded[:, :2] = (rows[:, :2] + grid) * stride_of
    decoded[:, 2:4] = np.exp(np.minimum(rows[:, 2:4], 10.0)) * stride_of
    return _objects(decoded)


def _detr(boxes: Array, logits: Array, size: tuple[int, int]) -> Detections:
    """Read centre and size as shares of the picture, with a logit a class.

    DETR's last class is nothing at all, and its logits are a softmax's (Carion et al., 2020,
    section 3.1); RT-DETR's are sigmoids'. A model most of whose queries have the last class, which
    is one of many, is of the first kind.
    """
    corners = _from_centres(boxes) * np.array([*size, *size], np.float32)
    many = logits.shape[1] > 1
    if many and (logits.argmax(axis=1) == logits.shape[1] - 1).mean() > 0.5:
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return corners, (shifted / shifted.sum(axis=1, keepdims=True))[:, :-1].max(axis=1)
    return corners, 1 / (1 + np.exp(-logits.max(axis=1).clip(-60, 60)))


def _scored(boxes: Array, scores: Array, size: tuple[int, int], first_is_y: bool) -> Detections:
    """Read corners, as pixels or as shares, with a score each, or one a class after nothing's."""
    if first_is_y:
        boxes = boxes[:, [1, 0, 3, 2]]
    if scores.ndim == 3:  # of SSD: a softmax whose first class is nothing
        table = _table(scores)
        scores = table[:, 1:].max(axis=1) if table.shape[1] > 1 else table[:, 0]
    if len(boxes) and float(np.abs(boxes).max()) <= 2.0:
        boxes = boxes * np.array([*size, *size], np.float32)
    return boxes, scores.reshape(-1)[: len(boxes)]
