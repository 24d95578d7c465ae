"""Leaving out patches: the same as while images are inverted, in PyTorch and in ONNX."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from support.toolkit import (
    embedding_of,
    image_of,
    random_images,
    random_pixels,
    refusal,
    tiny_backbone,
)
from torch import nn

from vision_edge.export.gate.explain import worst_step
from vision_edge.export.gate.parity import compare
from vision_edge.export.graph.layers import BIG_LINEARS, layers_of
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.export.precision import variant as variant_module
from vision_edge.export.precision.variant import make_variant
from vision_edge.export.settings import ExportSettings
from vision_edge.runtime.errors import ExportError, VisionEdgeError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens

MANY: dict[str, Any] = {"patch_size": 8, "depth": 3}
"""Three blocks and sixteen patches."""


@pytest.fixture(scope="module")
def many() -> Backbone:
    backbone = tiny_backbone(**MANY)
    generator = torch.Generator().manual_seed(1)
    for parameter in backbone.model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return backbone


@pytest.mark.parametrize("steps", ["1:0.5", "2:0.9", "1:0.25,2:0.5", "1:0.5,2:0.5,3:0.5"])
@pytest.mark.parametrize("kind", [{}, {"reg_tokens": 2}, {"init_values": 0.3}, {"qk_norm": True}])
def test_it_leaves_out_what_inversion_leaves_out(steps: str, kind: dict[str, Any]) -> None:
    model = tiny_backbone(**MANY, **kind).model
    pixels, pruning = random_pixels(4), Pruning.parse(steps)
    expected = forward_tokens(model, pixels, pruning=pruning).embedding
    got = embedding_of(pruned(model, pruning), pixels)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    assert (got - embedding_of(model, pixels)).abs().max() > 1e-4


def test_in_the_last_block_the_patches_matter_no_more(many: Backbone) -> None:
    pixels = random_pixels(2)
    got = embedding_of(pruned(many.model, Pruning.parse("3:0.9")), pixels)
    torch.testing.assert_close(got, embedding_of(many.model, pixels), atol=2e-5, rtol=1e-4)


def test_the_model_itself_stays_as_it_is(many: Backbone) -> None:
    pixels = random_pixels(2)
    before = embedding_of(many.model, pixels)
    pruned(many.model, Pruning.parse("1:0.5"))
    torch.testing.assert_close(embedding_of(many.model, pixels), before, atol=0, rtol=0)


def test_the_patches_that_go_have_no_say_afterwards(many: Backbone) -> None:
    """With one patch left, the last block's answer comes from two tokens."""
    seen: list[int] = []
    model = pruned(many.model, Pruning.parse("1:0.5,2:0.99"))
    for block in model.blocks:  # type: ignore[union-attr]
        block.norm2.register_forward_hook(lambda _m, x, _y: seen.append(x[0].shape[1]))
    embedding_of(model, random_pixels(2))
    assert seen == [9, 2, 2]


@dataclass(frozen=True)
class Graph:
    model: nn.Module
    data: bytes


@pytest.fixture(scope="module")
def graph(many: Backbone) -> Graph:
    """A pruned model and its graph: 16 patches, then 12, then 6."""
    model = pruned(many.model, Pruning.parse("1:0.25,2:0.5"))
    return Graph(model, to_onnx(EdgeModel(model, many.spec), many.spec.size))


def test_the_graph_gives_what_pytorch_gives_for_any_batch(many: Backbone, graph: Graph) -> None:
    session = ort.InferenceSession(graph.data, providers=["CPUExecutionProvider"])
    images = random_images(5)
    expected = TorchEmbedder(graph.model, many.spec).embed(images)
    for count in (1, 2, 5):
        (got,) = session.run(None, {"images": images[:count]})
        assert compare(expected[:count], got).min_cosine > 0.99999


def test_the_graph_s_shapes_are_fixed_and_its_layers_keep_their_names(graph: Graph) -> None:
    nodes = onnx.load_model_from_string(graph.data).graph
    names = [layer.name for layer in layers_of(nodes) if layer.is_big_linear]
    assert names == [f"blocks.{block}.{linear}" for block in range(3) for linear in BIG_LINEARS]
    operators = {node.op_type for node in nodes.node}
    assert not {"NonZero", "If", "Loop", "Unique", "Compress"} & operators
    counts = {w.name: onnx.numpy_helper.to_array(w) for w in nodes.initializer}
    kept = [int(counts[n.input[1]].item()) for n in nodes.node if n.op_type == "TopK"]
    assert kept == [12, 6]


def test_tensorrt_rtx_parses_it_strongly_typed(graph: Graph) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(graph.data), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    assert tuple(network.get_input(0).shape) == (-1, 32, 32, 3)
    assert tuple(network.get_output(0).shape) == (-1, 64)


@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 0.9999), ("fp16", 0.999), ("int8", 0.98)]
)
def test_every_precision_of_it_agrees_with_its_twin(
    many: Backbone, graph: Graph, monkeypatch: pytest.MonkeyPatch, precision: Any, least: float
) -> None:
    monkeypatch.setattr(variant_module, "to_onnx", lambda model, size: graph.data)
    images = np.stack([image_of(index % 6, index, 32)[:32] for index in range(24)])
    settings = ExportSettings(precision=precision)
    made = make_variant(graph.model, many.spec, settings, images[:18])
    session = ort.InferenceSession(made.data, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"images": images})
    assert compare(TorchEmbedder(graph.model, many.spec).embed(images), got).min_cosine > least


def test_the_worst_step_is_the_one_that_alone_turns_the_embedding_most(many: Backbone) -> None:
    images = random_images(4)
    pruning = Pruning.parse("1:0.9,3:0.07")
    assert worst_step(many.model, many.spec, pruning, images) == "1:0.9"
    assert worst_step(many.model, many.spec, Pruning.parse("1:0.5"), images) is None


# --- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("4:0.5", ("block 4", "3 blocks")),
        ("1:0.01", ("drops none of the 16 patches", "block 1")),
        ("1:0.0", ("drops none", "block 1")),
        ("1:0.99,2:0.5", ("drops none of the 1 patches", "block 2")),
    ],
)
def test_steps_that_the_model_cannot_take_are_refused(
    many: Backbone, steps: str, words: tuple[str, ...]
) -> None:
    with refusal(VisionEdgeError, *words):
        pruned(many.model, Pruning.parse(steps))


def test_a_model_of_another_kind_is_refused() -> None:
    with refusal(ExportError, "Linear", "plain"):
        pruned(nn.Linear(2, 2), Pruning.parse("1:0.5"))
