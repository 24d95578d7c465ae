import numpy as np
import onnx
import pytest
from support.precision import embed, graph_of, kinds, weight_names, weights_of, with_weights
from support.toolkit import random_images, tiny_backbone

from vision_edge.export.graph import tidy as module
from vision_edge.export.graph.layers import layers_of
from vision_edge.export.graph.tidy import fuse_attention, tidy
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.pruning import Pruning, pruned


def test_the_function_stays_in_fewer_operations(untidied: bytes) -> None:
    plain = untidied
    tidied = tidy(plain)
    assert len(kinds(tidied)) < 0.8 * len(kinds(plain))
    assert "Squeeze" not in kinds(tidied)
    for count in (1, 3):
        images = random_images(count)
        np.testing.assert_allclose(embed(tidied, images), embed(plain, images), atol=1e-5)
    assert tidy(tidied) == tidied


def test_names_of_inputs_outputs_and_layers_stay(untidied: bytes) -> None:
    plain, tidied = (graph_of(model) for model in (untidied, tidy(untidied)))
    assert list(plain.input) == list(tidied.input)
    assert list(plain.output) == list(tidied.output)
    layers = [layer.name for layer in layers_of(plain)]
    assert layers == [layer.name for layer in layers_of(tidied)]
    blocks = [f"blocks.{block}.{layer}" for block in (0, 1) for layer in LAYERS]
    assert layers == ["patch_embed.proj", *blocks, "norm"]


def test_the_last_block_computes_the_first_token_only(untidied: bytes) -> None:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(tidy(untidied))).graph
    shapes = {v.name: v.type.tensor_type.shape.dim for v in inferred.value_info}
    tokens = {layer.name: shapes[layer.result][1] for layer in layers_of(inferred)}
    wide, narrow = tokens["blocks.0.mlp.fc1"], tokens["blocks.1.mlp.fc1"]
    assert (narrow.dim_value, wide.dim_value == 1) == (1, False)


def test_gelu_is_in_the_order_that_onnx_runtime_fuses(untidied: bytes, tmp_path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    for model, there in ((untidied, False), (tidy(untidied), True)):
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        fused = kinds((tmp_path / "optimised.onnx").read_bytes())
        assert bool({"Gelu", "BiasGelu"} & set(fused)) is there


LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


@pytest.mark.parametrize("steps", ["1:0.5", "2:0.5"])
def test_pruned_graphs_are_tidied_too(steps: str) -> None:
    backbone = tiny_backbone()
    model = pruned(backbone.model, Pruning.parse(steps))
    plain = to_onnx(EdgeModel(model, backbone.spec), backbone.spec.size)
    tidied = tidy(plain)
    assert len(kinds(tidied)) < len(kinds(plain))
    images = random_images(3)
    np.testing.assert_allclose(embed(tidied, images), embed(plain, images), atol=1e-5)


def test_a_rewriting_that_changes_the_function_is_not_used(
    untidied: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = untidied
    name = weight_names(plain)["patch_embed.proj"]
    wrong = with_weights(plain, {name: weights_of(plain)[name] * 2})
    monkeypatch.setattr(module, "_tidied", lambda model, cut: wrong)
    assert tidy(untidied) == untidied


def test_fused_attention_is_the_same_function(untidied: bytes) -> None:
    fused = fuse_attention(untidied)
    assert kinds(fused).count("MultiHeadAttention") == 2
    assert "Softmax" not in kinds(fused)
    images = random_images(3)
    np.testing.assert_allclose(embed(fused, images), embed(untidied, images), atol=1e-5)
