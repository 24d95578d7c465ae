"""PyTorch to ONNX, by the dynamo exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch

from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.runtime.errors import ExportError

OPSET = 18
OUTPUTS = ("embeddings", "patches")
_TRACE_BATCH = 2  # a batch of 1 would be frozen into the graph (pytorch#157621)


def to_onnx(model: EdgeModel, size: int) -> bytes:
    """Export a model with a symbolic batch.

    Args:
        model: The model as devices run it, on the CPU, in float32.
        size: Side of its input, in pixels.

    Returns:
        A serialised ONNX model with inputs `images` uint8 (batch, size, size, 3) and outputs
        `embeddings` float32 (batch, D) and, where the model has them, `patches` float32
        (batch, T, D), without traces of the machine that made it.

    Raises:
        ExportError: If the exporter fails or the batch is not symbolic.
    """
    names = OUTPUTS[: 1 if model.patches is None else 2]
    example = torch.zeros((_TRACE_BATCH, size, size, 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            with _quiet():
                torch.onnx.export(
                    model,
                    (example,),
                    path,
                    input_names=["images"],
                    output_names=list(names),
                    dynamic_shapes=({0: torch.export.Dim("batch")},),
                    opset_version=OPSET,
                    dynamo=True,
                    external_data=False,
                )
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ExportError(
                f"PyTorch could not export the model to ONNX: {reason[0] if reason else error!r}",
                fix="use a plain timm vision transformer",
            ) from error
        graph = onnx.load(path)
    _strip(graph)
    _assert_signature(graph, size, names)
    onnx.checker.check_model(graph)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and internal warnings off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip(graph: onnx.ModelProto) -> None:
    """Drop stack traces and notes: they name files of this machine and triple the text."""
    graph.doc_string = ""
    graph.graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    values = (*graph.graph.value_info, *graph.graph.input, *graph.graph.output)
    for entry in (*graph.graph.node, *values, *graph.graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]


def _assert_signature(graph: onnx.ModelProto, size: int, names: Sequence[str]) -> None:
    """Check names, types and shapes; the first dimension of all must be a symbol."""

    def describe(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
        tensor = value.type.tensor_type
        shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        return value.name, tensor.elem_type, shape

    inputs = [describe(value) for value in graph.graph.input]
    outputs = [describe(value) for value in graph.graph.output]
    symbolic = all(isinstance(shape[0], str) for _, _, shape in inputs + outputs)
    if (
        not symbolic
        or [(n, t, s[1:]) for n, t, s in inputs]
        != [("images", onnx.TensorProto.UINT8, [size, size, 3])]
        or [(n, t, len(s)) for n, t, s in outputs]
        != [(name, onnx.TensorProto.FLOAT, 2 + n) for n, name in enumerate(names)]
    ):
        raise ExportError(
            f"the exported graph has inputs {inputs} and outputs {outputs}; expected images uint8 "
            f"(batch, {size}, {size}, 3) and float32 {' and '.join(names)} with a symbolic batch"
        )
