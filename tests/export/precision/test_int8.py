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
from support.toolkit import Exported, random_images, refusal

from vision_edge.export.precision.int8 import MIN_IMAGES, to_int8
from vision_edge.export.precision.layer_harm import worst_layer
from vision_edge.export.precision.rewritten import Precise
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.generated_scenes import generated_scenes


@pytest.fixture(scope="module")
def scenes() -> Image:
    """Sixteen to calibrate on and eight that are held out."""
    return np.stack(generated_scenes(MIN_IMAGES + 8, 32))


@pytest.fixture(scope="module")
def int8(exported: Exported, scenes: Image) -> Precise:
    return to_int8(exported.bundle.model, scenes[:MIN_IMAGES])


def test_embeddings_of_other_images_agree(exported: Exported, int8: Precise, scenes: Image) -> None:
    held_out = scenes[MIN_IMAGES:]
    expected = embed(exported.bundle.model, held_out)
    for optimised in (True, False):  # integer kernels, and the rounding written out
        got = embed(int8.model, held_out, optimised=optimised)
        assert 0.98 < least_cosine(expected, got) < 0.999999


def test_the_four_products_of_each_block_are_integers(int8: Precise) -> None:
    weights = weights_of(int8.model)
    linears = [f"blocks.{b}.{n}" for b in (0, 1) for n in ("attn.qkv", "attn.proj")]
    linears += [f"blocks.{b}.mlp.{n}" for b in (0, 1) for n in ("fc1", "fc2")]
    assert int8.precision == "int8"
    for name in set(linears) - set(int8.float_layers):
        weight, scale = weights[f"{name}.weight_int8"], weights[f"{name}.weight_scale"]
        assert weight.dtype == np.int8
        assert np.abs(weight).max(axis=0).tolist() == [63] * len(scale)  # each output its own scale
        assert weights[f"{name}.zero"].dtype == np.uint8


def test_no_pair_of_products_can_saturate_16_bits(int8: Precise) -> None:
    for name, weight in weights_of(int8.model).items():
        if name.endswith(".weight_int8"):
            assert 2 * 255 * np.abs(weight.astype(int)).max() <= np.iinfo(np.int16).max


def test_the_same_images_give_the_same_model(exported: Exported, scenes: Image) -> None:
    first, second = (to_int8(exported.bundle.model, scenes[:MIN_IMAGES]) for _ in range(2))
    assert first == second


def test_a_layer_with_one_massive_activation_stays_in_float32(
    exported: Exported, scenes: Image
) -> None:
    """As block 7 of ViT-Tiny has: one value of its GELU is fifty times all the others."""
    plain = exported.bundle.model
    weights, names = weights_of(plain), weight_names(plain)
    first, second = names["blocks.0.mlp.fc1"], names["blocks.0.mlp.fc2"]
    more, less = weights[first].copy(), weights[second].copy()
    more[:, 7] *= 3000
    less[7] /= 3000
    massive = with_weights(plain, {first: more, second: less})
    precise = to_int8(massive, scenes[:MIN_IMAGES])
    assert "blocks.0.mlp.fc2" in precise.float_layers
    assert len(precise.float_layers) <= 4
    held_out = scenes[MIN_IMAGES:]
    assert least_cosine(embed(massive, held_out), embed(precise.model, held_out)) > 0.98


def test_a_higher_aim_leaves_more_layers_in_float32(
    exported: Exported, int8: Precise, scenes: Image
) -> None:
    images = scenes[:MIN_IMAGES]
    expected = embed(exported.bundle.model, images)
    least = least_cosine(expected, embed(int8.model, images))
    aim = (1 + least) / 2
    finer = to_int8(exported.bundle.model, images, aim=aim)
    assert len(finer.float_layers) > len(int8.float_layers)
    assert least_cosine(expected, embed(finer.model, images)) > aim - 1e-3


def test_the_damaged_layer_is_the_worst(exported: Exported, int8: Precise, scenes: Image) -> None:
    name = next(
        n
        for n in weights_of(int8.model)
        if n.endswith(".weight_scale") and "blocks.1.attn.qkv" in n
    )
    damaged = with_weights(int8.model, {name: weights_of(int8.model)[name] * 3})
    broken = Precise(damaged, "int8", (), ())
    assert worst_layer(exported.bundle.model, broken, scenes[:4]) == "blocks.1.attn.qkv"


def test_for_tensorrt_it_is_symmetric_and_parses(exported: Exported, scenes: Image) -> None:
    precise = to_int8(exported.bundle.model, scenes[:MIN_IMAGES], for_tensorrt=True)
    zeros = [w for n, w in weights_of(precise.model).items() if n.endswith(".zero")]
    assert zeros
    assert all(zero.dtype == np.int8 and zero == 0 for zero in zeros)
    held_out = scenes[MIN_IMAGES:]
    rounded = embed(precise.model, held_out, optimised=False)
    assert least_cosine(embed(exported.bundle.model, held_out), rounded) > 0.97
    assert not list(tensorrt_refusals(precise.model))


def test_the_signature_stays(exported: Exported, int8: Precise) -> None:
    before, after = graph_of(exported.bundle.model), graph_of(int8.model)
    assert list(before.input) == list(after.input)
    assert list(before.output) == list(after.output)
    assert "QuantizeLinear" in kinds(int8.model)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (random_images(MIN_IMAGES - 1), [str(MIN_IMAGES), str(MIN_IMAGES - 1)]),
        (random_images(MIN_IMAGES).astype(np.float32), ["float32", "uint8"]),
        (random_images(MIN_IMAGES)[0], ["(32, 32, 3)"]),
        (np.repeat(random_images(1), MIN_IMAGES, axis=0), ["the same"]),
    ],
)
def test_bad_calibration_images_are_refused(
    exported: Exported, images: Image, words: list[str]
) -> None:
    with refusal(ExportError, *words):
        to_int8(exported.bundle.model, images)


def test_values_that_are_not_finite_are_refused(exported: Exported, scenes: Image) -> None:
    name = weight_names(exported.bundle.model)["blocks.0.attn.qkv"]
    broken = weights_of(exported.bundle.model)[name].copy()
    broken[0, 0] = np.nan
    with refusal(ExportError, "not finite"):
        to_int8(with_weights(exported.bundle.model, {name: broken}), scenes[:MIN_IMAGES])


def test_a_model_without_blocks_is_refused(scenes: Image) -> None:
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 32, 32, 3])
    out = onnx.helper.make_tensor_value_info("embeddings", onnx.TensorProto.FLOAT, ["n", 3])
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["x"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["x", "axes"], ["embeddings"], keepdims=0),
    ]
    axes = onnx.numpy_helper.from_array(np.array([1, 2]), "axes")
    graph = onnx.helper.make_graph(nodes, "g", [images], [out], [axes])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    with refusal(ExportError, "this model has none"):
        to_int8(model.SerializeToString(), scenes[:MIN_IMAGES])
