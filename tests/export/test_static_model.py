"""The model for NPUs: fixed, float, the same, and taken by two converters without hand work."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.toolkit import Exported

from vision_edge.export.gate.parity import compare
from vision_edge.export.settings import MIN_COSINE
from vision_edge.export.static_model import (
    StaticSettings,
    planes,
    static_embeddings,
    write_static_model,
)
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.session import open_session


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(asset("bundle"))


@pytest.fixture(scope="module")
def static(shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in fixed shapes."""
    return write_static_model(shipped, tmp_path_factory.mktemp("static") / "npu")


def scenes(bundle: Bundle, count: int = 6) -> Image:
    return np.stack(generated_scenes(count, bundle.manifest.preprocessing.size, seed=11))


def passes_the_gate(bundle: Bundle, images: Image, got: Embeddings) -> None:
    expected = open_session(bundle, "cpu", threads=1).embed(images)
    assert compare(expected, got).min_cosine >= MIN_COSINE["fp32"]


def test_every_shape_is_a_number_and_queries_keys_and_values_are_apart(
    static: Path, shipped: Bundle
) -> None:
    model = onnx.load(static / "model.onnx")
    (images,), (embeddings,) = model.graph.input, model.graph.output
    assert [d.dim_value for d in images.type.tensor_type.shape.dim] == [1, 3, 160, 160]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value for d in embeddings.type.tensor_type.shape.dim] == [1, 192]
    kinds = [node.op_type for node in model.graph.node]
    assert not {"Split", "Shape", "Expand", "Cast"} & set(kinds)
    assert kinds.count("MatMul") == 12 * 8  # q, k, v, scores, heads, projection, two of the MLP
    about = json.loads((static / "input.json").read_text())
    assert about["fingerprint"] == shipped.manifest.fingerprint
    assert about["input"]["order"] == "BGR"
    assert about["min_cosine"] >= MIN_COSINE["fp32"]


def test_a_larger_batch_gives_the_same(exported: Exported, tmp_path: Path) -> None:
    bundle, images = exported.bundle, scenes(exported.bundle)
    for batch in (1, 4):
        out = write_static_model(bundle, tmp_path / "npu", StaticSettings(batch=batch))
        model = (out / "model.onnx").read_bytes()
        passes_the_gate(bundle, images, static_embeddings(model, images, batch))


def test_ncnn_takes_it_by_pnnx_without_hand_work(
    static: Path, shipped: Bundle, tmp_path: Path
) -> None:
    ncnn, pnnx = pytest.importorskip("ncnn"), pytest.importorskip("pnnx")
    (tmp_path / "model.onnx").write_bytes((static / "model.onnx").read_bytes())
    subprocess.run(
        [sys.executable, "-c", "import pnnx; pnnx.pnnx()", "model.onnx", "fp16=0"],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert pnnx
    net: Any = ncnn.Net()
    net.opt.num_threads = 1
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    assert net.load_param(str(tmp_path / "model.ncnn.param")) == 0
    assert net.load_model(str(tmp_path / "model.ncnn.bin")) == 0
    images, rows = scenes(shipped), []
    for pixels in planes(images):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(pixels))
        status, answer = extractor.extract("out0")
        assert status == 0
        rows.append(np.array(answer).ravel())
    passes_the_gate(shipped, images, np.stack(rows))


def test_openvino_takes_it(static: Path, shipped: Bundle) -> None:
    ov = pytest.importorskip("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(str(static / "model.onnx"), "CPU", settings)
    images = scenes(shipped)
    rows = [np.array(compiled({0: pixels[None]})[0])[0] for pixels in planes(images)]
    passes_the_gate(shipped, images, np.stack(rows))


def test_what_does_not_go_with_it_is_refused(exported: Exported, tmp_path: Path) -> None:
    bundle = exported.bundle
    half = replace(bundle, manifest=bundle.manifest.model_copy(update={"precision": "fp16"}))
    with pytest.raises(ExportError, match="compilers of NPUs take float32"):
        write_static_model(half, tmp_path / "npu")
    with pytest.raises(ExportError, match="at least 1 image; got 0"):
        StaticSettings(batch=0)
    (tmp_path / "other").mkdir()
    with pytest.raises(ExportError, match="is not overwritten"):
        write_static_model(bundle, tmp_path / "other")
    assert not (tmp_path / "npu").exists()
