"""The same function in fewer operations: what the exporter spells out, written as runtimes like it.

* GELU is put in the order that ONNX Runtime and TensorRT recognise and run as one kernel.
* Attention loses the nodes that only compute shapes.
* The last block computes the [CLS] token only: nothing else of it reaches the embedding.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from vision_edge.export.graph.attention import (
    MICROSOFT,
    Attention,
    find_attentions,
    first_token,
    write_fused,
    write_plain,
)
from vision_edge.export.graph.cpu_session import cpu_session
from vision_edge.export.graph.rewriting import Rewriting, attribute
from vision_edge.runtime.arrays import Embeddings

_TOLERANCE = 1e-5


def tidy(model: bytes) -> bytes:
    """Return the same function in fewer operations of the same opset.

    What is not spelt as PyTorch's exporter spells it stays as it is; so does everything, should
    the result differ on a trial.

    Args:
        model: A bundle's float32 ONNX model.
    """
    candidates = (_tidied(model, cut) for cut in (True, False))
    return next((tidied for tidied in candidates if _agree(model, tidied)), model)


def _tidied(model: bytes, cut: bool) -> bytes:
    """Rewrite everything that is recognised; with `cut`, the last block for [CLS] only."""
    graph = Rewriting(onnx.load_model_from_string(model))
    for erf in graph.of_kind("Erf"):
        _reorder_gelu(graph, erf)
    attentions = find_attentions(graph)
    for attention in attentions:
        is_last = cut and attention is attentions[-1]
        write_plain(graph, attention, first_only=is_last and _cut_residual(graph, attention))
    return graph.finish()


def fuse_attention(model: bytes) -> bytes:
    """Return the same function with ONNX Runtime's fused attention, for its GPU providers.

    It runs in ONNX Runtime only, not in TensorRT or OpenVINO. Call it before `to_half`.

    Args:
        model: A bundle's float32 ONNX model, before `tidy`.
    """
    graph = Rewriting(onnx.load_model_from_string(model))
    for erf in graph.of_kind("Erf"):
        _reorder_gelu(graph, erf)
    for attention in find_attentions(graph):
        write_fused(graph, attention)
    if all(entry.domain != MICROSOFT for entry in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    fused = graph.finish()
    return fused if _agree(model, fused) else model


def _reorder_gelu(graph: Rewriting, erf: onnx.NodeProto) -> None:
    """Turn x * (0.5 * (1 + erf)) into (x * (1 + erf)) * 0.5."""
    plus = graph.reader(erf.output[0], "Add")
    half = graph.reader(plus.output[0], "Mul") if plus is not None else None
    last = graph.reader(half.output[0], "Mul") if half is not None else None
    if plus is None or half is None or last is None:
        return
    factor = next((name for name in half.input if graph.constant(name) is not None), None)
    source = next((name for name in last.input if name != half.output[0]), None)
    if factor is None or source is None:
        return
    half.input[:] = [source, plus.output[0]]
    last.input[:] = [half.output[0], factor]
    graph.index()


def _cut_residual(graph: Rewriting, attention: Attention) -> bool:
    """Keep the first token of what the last attention's output is added to, if all fits."""
    if not _only_first_is_read(graph):
        return False
    value = attention.last.output[0]
    product = graph.reader(value, "MatMul")
    bias = graph.reader(product.output[0], "Add") if product is not None else None
    added = graph.reader(bias.output[0], "Add") if bias is not None else None
    if bias is None or added is None:
        return False
    side = 1 if added.input[0] == bias.output[0] else 0
    residual = added.input[side]
    graph.insert(added, [first_token(graph, residual, f"{residual}_first")])
    added.input[side] = f"{residual}_first"
    graph.index()
    return True


def _only_first_is_read(graph: Rewriting) -> bool:
    """Whether the only output is token 0 after the last normalisation."""
    if len(graph.model.graph.output) != 1:
        return False
    last = graph.maker(graph.model.graph.output[0].name, "Gather")
    index = graph.constant(last.input[1]) if last is not None else None
    return (
        last is not None
        and index is not None
        and index.size == 1
        and int(index.reshape(())) == 0
        and attribute(last, "axis", 0) == 1
        and graph.maker(last.input[0], "LayerNormalization") is not None
    )


def _agree(left: bytes, right: bytes) -> bool:
    """Whether two models embed two random pictures alike, or are both not finite."""
    expected = _embed_noise(left)
    try:
        got = _embed_noise(right)
    except Exception:  # ONNX Runtime's own: the rewriting does not fit this graph
        return False
    return len(expected) == len(got) and all(map(_are_alike, expected, got))


def _are_alike(expected: Embeddings, got: Embeddings) -> bool:
    tolerance = _TOLERANCE * max(1.0, float(np.nan_to_num(np.abs(expected)).max()))
    return bool(np.allclose(expected, got, rtol=0.0, atol=tolerance, equal_nan=True))


def _embed_noise(model: bytes) -> list[Embeddings]:
    """Return all outputs for two random pictures."""
    session = cpu_session(model)
    shape = session.get_inputs()[0].shape[1:]
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    outputs: list[Embeddings] = session.run(None, {"images": images})
    return outputs
