import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.toolkit import DIM, SIZE, Exported, random_images, refusal
from torch import nn

from vision_edge.export.graph import to_onnx as onnx_graph
from vision_edge.export.graph.to_onnx import OPSET, to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.runtime.errors import ExportError
from vision_edge.toolkit.backbones.backbone import Backbone


@pytest.fixture(scope="module")
def session(exported: Exported) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        exported.bundle.model, options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_equals_pytorch_at_any_batch(session: Any, exported: Exported, batch: int) -> None:
    images = random_images(batch, seed=batch)
    (got,) = session.run(None, {"images": images})
    expected = exported.merged.embedder().embed(images)
    assert got.shape == (batch, DIM)
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-4)
    with torch.no_grad():
        folded = EdgeModel(exported.merged.model, exported.merged.spec)(torch.from_numpy(images))
    np.testing.assert_allclose(got, folded.numpy(), atol=2e-5, rtol=1e-4)


def test_an_image_s_embedding_does_not_depend_on_its_neighbours(session: Any) -> None:
    images = random_images(5)
    (together,) = session.run(None, {"images": images})
    alone = [session.run(None, {"images": image[None]})[0][0] for image in images]
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_the_order_of_colours_matters_and_is_bgr(session: Any, exported: Exported) -> None:
    images = random_images(3)
    images[..., 0] //= 4  # little blue
    swapped = np.ascontiguousarray(images[..., ::-1])
    (plain,) = session.run(None, {"images": images})
    (other,) = session.run(None, {"images": swapped})
    assert np.abs(plain - other).max() > 1e-2
    expected = exported.merged.embedder().embed(swapped)
    np.testing.assert_allclose(other, expected, atol=2e-5, rtol=1e-4)


def test_blacks_and_whites_are_not_guessed_at(session: Any, exported: Exported) -> None:
    images = np.stack([np.full((SIZE, SIZE, 3), v, np.uint8) for v in (0, 1, 2, 254, 255)])
    (got,) = session.run(None, {"images": images})
    expected = exported.merged.embedder().embed(images)
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-4)


def test_inputs_and_outputs_are_the_bundle_s(exported: Exported) -> None:
    graph = onnx.load_from_string(exported.bundle.model)
    (image,), (embedding,) = graph.graph.input, graph.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (image, embedding)
    ]
    assert (image.name, embedding.name) == ("images", "embeddings")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert embedding.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert shapes[0][1:] == [SIZE, SIZE, 3]
    assert shapes[1][1:] == [DIM]
    assert isinstance(shapes[0][0], str)
    assert shapes[0][0] == shapes[1][0]
    assert [opset.version for opset in graph.opset_import if not opset.domain] == [OPSET]


def test_the_cast_comes_first(exported: Exported) -> None:
    """TensorRT's parser refuses to compute with uint8; the shape gives the symbolic batch."""
    graph = onnx.load_from_string(exported.bundle.model).graph
    takers = [node.op_type for node in graph.node if "images" in node.input]
    assert set(takers) == {"Cast", "Shape"}


def test_nothing_of_this_machine_is_in_the_file(exported: Exported, tmp_path: Path) -> None:
    data = exported.bundle.model
    texts = [match.decode() for match in re.findall(rb"[\x20-\x7e]{4,}", data)]
    places = (str(Path.home()), str(tmp_path.parent), "/tmp", "site-packages", ".py")
    found = [text for text in texts if any(place in text for place in places)]
    assert found == []
    graph = onnx.load_from_string(data)
    assert not graph.metadata_props
    assert all(not node.metadata_props and not node.doc_string for node in graph.graph.node)
    assert b"stack_trace" not in data
    assert all(not tensor.external_data for tensor in graph.graph.initializer)


# --- what cannot be exported -----------------------------------------------------------------


class _Looped(nn.Module):
    """Its control flow depends on its data."""

    patches = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result = images.float().mean((1, 2))
        while result.sum() > 1:
            result = result / 2
        return result


class _Frozen(nn.Module):
    """Its batch is written into the graph."""

    patches = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2))[:2].reshape(2, 3)


def test_what_pytorch_cannot_export_is_refused() -> None:
    with refusal(ExportError, "could not export"):
        to_onnx(_Looped(), SIZE)


def test_a_batch_that_the_export_froze_is_refused() -> None:
    with pytest.raises(ExportError, match="symbolic batch"):
        to_onnx(_Frozen(), SIZE)


def _signature(batch_in: str | int, batch_out: str | int, **changes: Any) -> onnx.ModelProto:
    kinds = {"name": "images", "type": onnx.TensorProto.UINT8, "size": SIZE, "out": [DIM]}
    kinds |= changes
    shape = [batch_in, kinds["size"], kinds["size"], 3]
    image = onnx.helper.make_tensor_value_info(kinds["name"], kinds["type"], shape)
    embedding = onnx.helper.make_tensor_value_info(
        "embeddings", onnx.TensorProto.FLOAT, [batch_out, *kinds["out"]]
    )
    return onnx.helper.make_model(onnx.helper.make_graph([], "g", [image], [embedding]))


@pytest.mark.parametrize(
    "graph",
    [
        _signature(2, 2),
        _signature("batch", 2),
        _signature(1, "batch"),
        _signature("batch", "batch", name="x"),
        _signature("batch", "batch", type=onnx.TensorProto.FLOAT),
        _signature("batch", "batch", size=SIZE + 16),
        _signature("batch", "batch", out=[5, DIM]),
    ],
)
def test_a_graph_of_another_signature_is_refused(graph: onnx.ModelProto) -> None:
    onnx_graph._assert_signature(_signature("batch", "batch"), SIZE, onnx_graph.OUTPUTS[:1])
    with pytest.raises(ExportError, match="symbolic batch"):
        onnx_graph._assert_signature(graph, SIZE, onnx_graph.OUTPUTS[:1])


def test_another_input_size_than_the_model_s_is_refused(backbone: Backbone) -> None:
    fixed = EdgeModel(backbone.model, backbone.spec)
    fixed.model.patch_embed.strict_img_size = True
    fixed.model.dynamic_img_size = False
    with refusal(ExportError, "could not export"):
        to_onnx(fixed, 2 * SIZE)
