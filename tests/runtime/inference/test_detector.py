"""Detectors: the common layouts of their outputs, and files that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.errors import DetectorError, VisionEdgeError
from vision_edge.runtime.inference.detector import Detector, DetectorSettings
from vision_edge.runtime.inference.detector_layouts import layout_of
from vision_edge.runtime.recognition.part_motion import iou

onnx = pytest.importorskip("onnx")
SIDE = 128
PARTS = [(20, 40, 60, 100), (70, 10, 110, 50)]
"""Where two parts are in a picture of 256x128: half as wide in the model's, below its top."""
FRAME = np.full((128, 256, 3), 90, np.uint8)
INNER = [(x0 / 2, y0 / 2, x1 / 2, y1 / 2) for x0, y0, x1, y1 in PARTS]


def graph(
    path: Path,
    outputs: dict[str, np.ndarray],
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    kind: int = 1,
    sizes: bool = False,
) -> Path:
    """Write a model that takes a picture and always answers the same."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    inputs = [helper.make_tensor_value_info("images", kind, list(shape))]
    if sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", 7, [1, 2]))
    nodes, told = [], []
    for name, value in outputs.items():
        constant = numpy_helper.from_array(value.astype(np.float32), f"{name}_value")
        nodes.append(helper.make_node("Constant", [], [name], value=constant))
        told.append(helper.make_tensor_value_info(name, 1, list(value.shape)))
    made = helper.make_graph(nodes, "detector", inputs, told)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def centres(boxes: Sequence[tuple[float, ...]]) -> np.ndarray:
    return np.array([[(a + c) / 2, (b + d) / 2, c - a, d - b] for a, b, c, d in boxes])


def moved(boxes: Sequence[tuple[float, ...]], dx: float, dy: float) -> list[tuple[float, ...]]:
    return [(a + dx, b + dy, c + dx, d + dy) for a, b, c, d in boxes]


LETTERBOXED = moved(INNER, 0, 32)
"""In the middle of the model's square."""
STRETCHED = [(a, 2 * b, c, 2 * d) for a, b, c, d in INNER]


def yolo() -> dict[str, np.ndarray]:
    rows = np.zeros((200, 6))
    rows[:3, :4] = centres([*LETTERBOXED, moved(LETTERBOXED[:1], 1, 1)[0]])
    rows[:3, 4:] = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.0]]
    return {"output0": rows.T[None]}


def objects() -> dict[str, np.ndarray]:
    rows = np.zeros((1200, 7))
    rows[5:7, :4] = centres(LETTERBOXED)
    rows[5:7, 4:] = [[0.9, 0.9, 0.1], [0.8, 0.1, 0.9]]
    return {"output": rows[None]}


def end_to_end() -> dict[str, np.ndarray]:
    rows = np.zeros((300, 6))
    rows[:2, :4], rows[:2, 4], rows[:2, 5] = LETTERBOXED, [0.9, 0.8], [3, 4]
    return {"output0": rows[None]}


def yolox(*, decoded: bool) -> dict[str, np.ndarray]:
    cells = [(s, x, y) for s in (8, 16, 32) for y in range(SIDE // s) for x in range(SIDE // s)]
    rows = np.zeros((len(cells), 7))
    for k, (s, x, y) in enumerate(cells):
        rows[k, :4] = ((x + 0.5) * s, (y + 0.5) * s, s, s) if decoded else (0.5, 0.5, 0, 0)
    for number, box in enumerate(centres(INNER)):  # in the picture's corner
        k = 20 + number
        s, x, y = cells[k]
        raw = (box[0] / s - x, box[1] / s - y, *np.log(box[2:] / s))
        rows[k] = (*(box if decoded else raw), 0.9, 0.1, 0.9)
    return {"output": rows[None]}


def detr(*, softmax: bool) -> dict[str, np.ndarray]:
    logits = np.full((100, 5), -6.0)
    if softmax:
        logits[:, 4] = 6
    logits[:2, :] = -6
    logits[0, 1] = logits[1, 2] = 3
    boxes = np.zeros((100, 4))
    boxes[:2] = centres(STRETCHED) / SIDE
    return {"logits": logits[None], "pred_boxes": boxes[None]}


def scored() -> dict[str, np.ndarray]:
    return {
        "boxes": np.array(LETTERBOXED), "labels": np.array([1, 2]), "scores": np.array([0.9, 0.8]),
    }  # fmt: skip


def ssd() -> dict[str, np.ndarray]:
    scores = np.zeros((1, 2, 3))
    scores[0] = [[0.1, 0.9, 0], [0.2, 0, 0.8]]
    return {"scores": scores, "boxes": np.array(STRETCHED)[None] / SIDE}


def tensorflow() -> dict[str, np.ndarray]:
    boxes = np.array(STRETCHED)[None] / SIDE
    return {
        "detection_boxes": boxes[..., [1, 0, 3, 2]], "detection_scores": np.array([[0.9, 0.8]]),
        "num_detections": np.array([2]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("YOLO", yolo()),
        ("YOLO with objectness", objects()),
        ("end-to-end YOLO", end_to_end()),
        ("YOLOX", yolox(decoded=False)),
        ("YOLOX", yolox(decoded=True)),
        ("boxes with logits", detr(softmax=False)),
        ("boxes with logits", detr(softmax=True)),
        ("boxes with scores", {**scored(), "boxes": np.array(STRETCHED)}),
        ("boxes with scores", ssd()),
    ],
)
def test_each_common_layout_is_read(
    name: str, outputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    detector = Detector(DetectorSettings(graph(tmp_path / "d.onnx", outputs)))
    assert detector.layout.name == name
    found = detector.find_all(FRAME)
    assert [iou(one.box, part) > 0.9 for one, part in zip(found, PARTS, strict=True)] == [True] * 2
    assert all(one.complete and 0.5 < one.score < 1 for one in found)


def test_other_inputs_are_taken_as_they_are(tmp_path: Path) -> None:
    path = graph(tmp_path / "tf.onnx", tensorflow(), (1, SIDE, SIDE, 3), kind=2)
    assert len(Detector(DetectorSettings(path)).find_all(FRAME)) == 2
    sized = {**scored(), "boxes": np.array(STRETCHED)[None], "scores": np.array([[0.9, 0.8]])}
    path = graph(tmp_path / "fine.onnx", sized, (1, 3, SIDE, SIDE), sizes=True)
    assert len(Detector(DetectorSettings(path)).find_all(FRAME)) == 2
    path = graph(tmp_path / "any.onnx", ssd(), ("N", 3, "height", "width"))
    assert len(Detector(DetectorSettings(path)).find_all(FRAME)) == 2
    path = graph(tmp_path / "list.onnx", sized, (3, SIDE, SIDE), kind=10)
    assert len(Detector(DetectorSettings(path)).find_all(FRAME)) == 2


def test_what_is_unsure_or_found_twice_goes(tmp_path: Path) -> None:
    path = graph(tmp_path / "d.onnx", yolo())
    assert len(Detector(DetectorSettings(path, score=0.85)).find_all(FRAME)) == 1
    assert len(Detector(DetectorSettings(path, overlap=1.0)).find_all(FRAME)) == 3


def test_a_part_at_the_border_is_not_complete(tmp_path: Path) -> None:
    outputs = {**scored(), "boxes": np.array([(0.0, 20.0, 40.0, 90.0), (50.0, 10.0, 90.0, 128.0)])}
    found = Detector(DetectorSettings(graph(tmp_path / "d.onnx", outputs))).find_all(FRAME)
    assert [one.complete for one in found] == [False, False]


class Listening:
    """Takes what a detector gives its model."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.fed = inner, {}

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> Any:
        self.fed = feeds
        return self.inner.run(names, feeds)


@pytest.mark.parametrize(
    ("values", "colour", "expected"),
    [
        ("auto", "auto", [30 / 255, 20 / 255, 10 / 255]),
        ("0-255", "bgr", [10, 20, 30]),
        ("imagenet", "rgb", [(30 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, None]),
    ],
)
def test_pixels_are_given_as_the_model_takes_them(
    values: Any, colour: Any, expected: list[float], tmp_path: Path
) -> None:
    path = graph(tmp_path / "d.onnx", detr(softmax=False))
    detector = Detector(DetectorSettings(path, values=values, colour=colour))
    listening = detector._session = Listening(detector._session)
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = (10, 20, 30)
    detector.find_all(image)
    pixel = listening.fed["images"][0, :, 64, 64]
    for got, wanted in zip(pixel, expected, strict=True):
        assert wanted is None or got == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"logits": np.zeros((1, 1000))}, r"logits \(1, 1000\)"),
        ({"embeddings": np.zeros((1, 192)), "patches": np.zeros((1, 196, 192))}, "embeddings"),
        ({"masks": np.zeros((1, 8, 8)), "boxes": np.zeros((1, 9, 5))}, r"boxes \(1, 9, 5\)"),
    ],
)
def test_a_model_that_is_no_detector_is_refused_by_its_outputs(
    outputs: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    path = graph(tmp_path / "other.onnx", outputs)
    with pytest.raises(DetectorError, match=said) as caught:
        Detector(DetectorSettings(path))
    assert "other.onnx" in caught.value.what
    assert caught.value.fix is not None
    assert "YOLOX" in caught.value.fix


def test_what_is_no_model_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(DetectorError, match="no ONNX model"):
        Detector(DetectorSettings(tmp_path / "text.onnx"))
    with pytest.raises(DetectorError, match="no such detector"):
        Detector(DetectorSettings(tmp_path / "absent.onnx"))
    path = graph(tmp_path / "batch.onnx", yolo(), (4, 3, SIDE, SIDE))
    with pytest.raises(DetectorError, match="one picture"):
        Detector(DetectorSettings(path))
    with pytest.raises(DetectorError, match="one picture"):
        Detector(DetectorSettings(graph(tmp_path / "six.onnx", yolo(), (1, 6, SIDE, SIDE))))


@pytest.mark.parametrize(
    "wrong", [{"score": 1.5}, {"overlap": 0.0}, {"values": "0-9"}, {"colour": "grey"}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(VisionEdgeError, match="detector"):
        DetectorSettings(Path("d.onnx"), **wrong)


def test_the_layout_of_a_model_of_any_size_is_read_from_its_names() -> None:
    varying = {"pred_boxes": (None, None, 4), "logits": (None, None, 80)}
    assert layout_of(varying, (640, 640)).name == "boxes with logits"
    assert layout_of({"output": (1, 8400, 85)}, (640, 640)).name == "YOLOX"
    assert layout_of({"output": (1, 25200, 85)}, (640, 640)).name == "YOLO with objectness"
    assert layout_of({"output0": (1, 84, 8400)}, (640, 640)).name == "YOLO"
