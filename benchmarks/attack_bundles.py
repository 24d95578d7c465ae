"""Bundles that no station may take: of models without end or measure, and of files elsewhere."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.bundles.bundle import load_bundle, write_bundle

EMBEDDED = Path(__file__).parents[1] / "runtime/vision_edge/runtime/assets/bundle"


def write_hostile_bundles(folder: Path) -> list[str]:
    """Write one of each kind into a folder; return their names."""
    sound = load_bundle(EMBEDDED)
    made: dict[str, Callable[[], bytes]] = {
        "loops": lambda: _with(sound.model, *_loop()),
        "vast constant": lambda: _with(sound.model, *_vast()),
        "never done": lambda: _with(sound.model, *_slow()),
        "external data": lambda: _external(sound.model),
        "no model": lambda: sound.model[: len(sound.model) // 2],
    }
    fields = sound.manifest.model_dump(mode="json")
    files = fields.pop("files")
    for name, model in made.items():
        others = {n: (EMBEDDED / n).read_bytes() for n in files if n != "model.onnx"}
        write_bundle(folder / name, fields, {**others, "model.onnx": model()})
    for name, make in {"fifo": os.mkfifo, "zero": lambda p: p.symlink_to("/dev/zero")}.items():
        (folder / name).mkdir()
        make(folder / name / "manifest.json")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("manifest.json", bytes(200 << 20))
    import hashlib

    digest = hashlib.sha256((folder / "bomb.zip").read_bytes()).hexdigest()
    (folder / "bomb.zip.sha256").write_text(digest)
    return [*made, "fifo", "zero", "bomb.zip"]


def _loop() -> tuple[list[Any], dict[str, Any]]:
    """Return a loop that never ends."""
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["again"]), helper.make_node("Abs", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []),
         value("v", TensorProto.FLOAT, [])],
        [value("again", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [])],
    )  # fmt: skip
    node = helper.make_node("Loop", ["", "for_ever", "nought"], ["end"], body=body)
    return [node], {"for_ever": np.array(True), "nought": np.float32(0)}


def _vast() -> tuple[list[Any], dict[str, Any]]:
    """Return a constant of 32 GB."""
    from onnx import helper

    nodes = [
        helper.make_node("ConstantOfShape", ["vast_shape"], ["vast"]),
        helper.make_node("ReduceMean", ["vast"], ["end"], keepdims=0),
    ]
    return nodes, {"vast_shape": np.array([1 << 33])}


def _slow() -> tuple[list[Any], dict[str, Any]]:
    """Return products of matrices that take minutes."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMax", ["embeddings_before"], ["max"], keepdims=0),
        helper.make_node("Expand", ["max", "square"], ["m0"]),
        *(helper.make_node("MatMul", ["m0", f"m{k}"], [f"m{k + 1}"]) for k in range(200)),
        helper.make_node("ReduceMean", ["m200"], ["end"], keepdims=0),
    ]
    return nodes, {"square": np.array([3000, 3000])}


def _with(model: bytes, nodes: list[Any], constants: dict[str, Any]) -> bytes:
    """Return a model with more nodes, whose output `end` counts nothing in the embeddings."""
    from onnx import helper, load_from_string, numpy_helper

    changed = load_from_string(model)
    for node in changed.graph.node:
        for number, name in enumerate(node.output):
            if name == "embeddings":
                node.output[number] = "embeddings_before"
    changed.graph.node.extend(nodes)
    changed.graph.node.append(helper.make_node("Mul", ["end", "no"], ["nothing"]))
    changed.graph.node.append(
        helper.make_node("Add", ["embeddings_before", "nothing"], ["embeddings"])
    )
    for name, value in {**constants, "no": np.float32(0)}.items():
        changed.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return bytes(changed.SerializeToString())


def _external(model: bytes) -> bytes:
    """Return a model whose first tensor lies in the file `secret`."""
    from onnx import TensorProto, load_from_string

    changed = load_from_string(model)
    tensor = changed.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret"
    return bytes(changed.SerializeToString())
