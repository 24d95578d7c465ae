"""int8: the large matrix products of each block in eight bits, calibrated on real images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from vision_edge.export.layers import layers_of
from vision_edge.export.precise import Precise
from vision_edge.runtime.errors import ExportError, require
from vision_edge.runtime.preprocess import Image

MIN_IMAGES = 16


def to_int8(model: bytes, images: Image) -> Precise:
    """Quantise a float32 model to int8.

    Args:
        model: A bundle's float32 ONNX model.
        images: For calibration, uint8 (N, S, S, 3) BGR, prepared; at least `MIN_IMAGES`.

    Raises:
        ExportError: If there are too few images, or of the wrong type.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) < MIN_IMAGES:
        raise ExportError(
            f"int8 is calibrated on at least {MIN_IMAGES} images, uint8 (N, S, S, 3); got "
            f"{images.dtype} {images.shape}",
            fix="give more images of what the camera sees with --images",
        )
    quantization = require("onnxruntime.quantization")
    graph = onnx.load_model_from_string(model)
    layers = [layer for layer in layers_of(graph.graph) if layer.is_big_linear]
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        quantization.quantize_static(
            graph,
            Path(folder) / "q.onnx",
            _reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=[layer.nodes[0] for layer in layers],
        )
        data = (Path(folder) / "q.onnx").read_bytes()
    return Precise(data, "int8", (), ())


def _reader(images: Image) -> Any:
    class Reader(require("onnxruntime.quantization").CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Image] = iter(np.array_split(images, max(1, len(images) // 8)))

        def get_next(self) -> dict[str, Image] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    return Reader()
