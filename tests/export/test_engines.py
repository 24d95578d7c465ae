"""TensorRT-RTX builds engines of what the exporter writes, in every precision; needs no GPU."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.toolkit import Exported

from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.precision.half import to_half
from vision_edge.export.precision.int8 import MIN_IMAGES, to_int8
from vision_edge.runtime.errors import EngineError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.tensorrt.builder import build
from vision_edge.runtime.inference.tensorrt.key import BuildSettings
from vision_edge.runtime.inference.tensorrt.possible import impossible

pytest.importorskip("tensorrt_rtx")
ADA = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.9",))


@pytest.fixture(scope="module")
def model(exported: Exported) -> bytes:
    """The tiny model as ONNX, each bias its own: equal ones would become one tensor."""
    changed = copy.deepcopy(exported.merged.model)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.02)
    spec = exported.bundle.manifest.preprocessing
    return to_onnx(EdgeModel(changed, spec), spec.size)


def precise(model: bytes, size: int, precision: str) -> bytes:
    if precision == "fp32":
        return model
    if precision == "fp16":
        return to_half(model).model
    images = np.stack(generated_scenes(MIN_IMAGES, size, seed=2))
    return to_int8(model, images, for_tensorrt=True).model


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_exported_model_is_built(exported: Exported, model: bytes, precision: str) -> None:
    size = exported.bundle.manifest.preprocessing.size
    data, _ = build(replace(exported.bundle, model=precise(model, size, precision)), ADA)
    assert data[:4] == b"vtrt"
    assert len(data) > 1_000_000


CARDS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_matrix_of_cards_is_as_the_docs_have_it(
    exported: Exported, model: bytes, precision: str
) -> None:
    """`benchmarks/engine_matrix.py` builds the same of larger models, each card apart."""
    size = exported.bundle.manifest.preprocessing.size
    bundle = replace(exported.bundle, model=precise(model, size, precision))
    everywhere = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=CARDS)
    refused = impossible(bundle, everywhere)
    assert list(refused) == ([] if precision == "fp16" else ["7.5"])
    left = tuple(card for card in CARDS if card not in refused)
    data, _ = build(bundle, everywhere.model_copy(update={"compute_capabilities": left}))
    assert len(data) > 1_000_000
    for card in refused:  # and the rule refuses nothing that could be built
        with pytest.raises(EngineError, match="could not build"):
            build(bundle, everywhere.model_copy(update={"compute_capabilities": (card,)}))
