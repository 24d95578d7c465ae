import numpy as np
import onnx
import pytest
from support.precision import (
    embed,
    graph_of,
    kinds,
    least_cosine,
    tensorrt_refusals,
    weight_names,
    weights_of,
    with_weights,
)
from support.toolkit import random_images, refusal

from vision_edge.export.graph.tidy import fuse_attention, tidy
from vision_edge.export.precision.half import to_half
from vision_edge.export.precision.layer_harm import layer_harms, worst_layer
from vision_edge.runtime.errors import ExportError

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def half(untidied: bytes) -> bytes:
    return to_half(untidied).model


def _types(model: bytes) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(model), strict_mode=True
    ).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    weights = {weight.name: weight.data_type for weight in inferred.initializer}
    return {value.name: value.type.tensor_type.elem_type for value in values} | weights


def test_embeddings_agree_and_come_out_in_float32(untidied: bytes, half: bytes) -> None:
    images = random_images(6)
    expected = embed(untidied, images)
    for optimised in (True, False):
        got = embed(half, images, optimised=optimised)
        assert got.dtype == np.float32
        assert least_cosine(expected, got) > 0.9999
        assert not np.array_equal(expected, got)  # it was rounded


def test_matrix_products_are_float16_and_normalisations_float32(half: bytes) -> None:
    types = _types(half)
    for node in graph_of(half).node:
        wide = node.op_type in ("LayerNormalization", "Softmax")
        if wide or node.op_type in ("MatMul", "Conv", "Erf"):
            assert {types[value] for value in node.input} == {FLOAT if wide else HALF}, node.name


def test_the_residual_stream_is_float32(half: bytes) -> None:
    types, weights = _types(half), weights_of(half)
    added = [
        node
        for node in graph_of(half).node
        if node.op_type == "Add" and not set(node.input) & set(weights)
    ]
    assert len(added) == 4
    assert {types[node.output[0]] for node in added} == {FLOAT}


def test_no_tensor_is_cast_twice_or_in_vain(half: bytes) -> None:
    types = _types(half)
    casts = [(n.input[0], n.output[0]) for n in graph_of(half).node if n.op_type == "Cast"]
    assert all(types[source] != types[result] for source, result in casts)
    assert len({(source, types[result]) for source, result in casts}) == len(casts)


def test_narrow_leaves_two_casts(untidied: bytes) -> None:
    narrow = to_half(untidied, wide=(), residual=False)
    assert kinds(narrow.model).count("Cast") == 2
    assert narrow.float_layers == ()
    images = random_images(4)
    assert least_cosine(embed(untidied, images), embed(narrow.model, images)) > 0.999


def test_it_is_half_the_size(untidied: bytes, half: bytes) -> None:
    assert len(half) < 0.65 * len(tidy(untidied))  # a tiny model is mostly nodes


def test_it_says_what_stays_in_float32(untidied: bytes) -> None:
    precise = to_half(untidied)
    assert precise.precision == "fp16"
    assert len(precise.float_layers) == 5 + 2  # normalisations and softmaxes of two blocks


def test_fused_attention_takes_float16(untidied: bytes) -> None:
    fused = to_half(fuse_attention(untidied)).model
    assert "MultiHeadAttention" in kinds(fused)
    images = random_images(4)
    assert least_cosine(embed(untidied, images), embed(fused, images)) > 0.999


def test_a_weight_too_large_is_refused_by_name(untidied: bytes) -> None:
    name = weight_names(untidied)["blocks.1.mlp.fc2"]
    large = weights_of(untidied)[name].copy()
    large[3, 5] = 1e5
    with refusal(ExportError, name, "1e+05", "float16"):
        to_half(with_weights(untidied, {name: large}))


@pytest.mark.parametrize("narrow", [False, True])
def test_tensorrt_parses_it_strongly_typed(untidied: bytes, narrow: bool) -> None:
    options = {"wide": (), "residual": False} if narrow else {}
    assert not list(tensorrt_refusals(to_half(untidied, **options).model))


def test_the_damaged_layer_is_the_worst(untidied: bytes, half: bytes) -> None:
    precise = to_half(untidied)
    images = random_images(4)
    healthy = layer_harms(untidied, precise, images)
    assert len(healthy) == 1 + 2 * 6 + 1
    assert max(healthy.values()) < 1e-3
    name = weight_names(half)["blocks.0.mlp.fc1"]
    damaged = with_weights(half, {name: -weights_of(half)[name]})
    assert (
        worst_layer(untidied, type(precise)(damaged, "fp16", (), ()), images) == "blocks.0.mlp.fc1"
    )


def test_models_without_a_layer_in_common_are_refused(untidied: bytes) -> None:
    model = onnx.load_model_from_string(to_half(untidied).model)
    for node in model.graph.node:
        node.input[:] = [f"{v}_other" if v and v != "images" else v for v in node.input]
        node.output[:] = [f"{v}_other" for v in node.output]
    stranger = type(to_half(untidied))(model.SerializeToString(), "fp16", (), ())
    with refusal(ExportError, "no layer in common"):
        worst_layer(untidied, stranger, random_images(2))
