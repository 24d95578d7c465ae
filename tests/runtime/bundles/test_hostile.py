"""Bundles from strangers: only regular files, only what was hashed, nothing without end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import cohort_of, make_bundle, manifest_fields, npy, tiny_model, weights

from vision_edge.runtime.bundles.bundle import load_bundle, write_bundle
from vision_edge.runtime.bundles.external_data import names_other_files, repeating_operator
from vision_edge.runtime.bundles.manifest import Manifest
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.system.files import read_regular

FILES = ["manifest.json", "model.onnx", "cohort.npy"]


def _linked(path: Path) -> None:
    moved = path.parent.parent / f"moved {path.name}"
    path.replace(moved)
    path.symlink_to(moved)


def _to_zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(1 << 36)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [_linked, _to_zero, _fifo, _folder, _sparse])
def test_only_regular_files_of_a_fit_size_are_read(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    folder = make_bundle(tmp_path / "b")
    change(folder / name)
    began = time.monotonic()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")) as caught:
        load_bundle(folder)
    assert time.monotonic() - began < 2
    assert caught.value.fix


@pytest.mark.parametrize("make", [lambda p: p.symlink_to("/dev/zero"), os.mkfifo, Path.touch])
def test_nothing_unlisted_lies_in_a_bundle(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = make_bundle(tmp_path / "b")
    make(folder / "weights.bin")
    with pytest.raises(BundleError, match=r"does not list: weights\.bin"):
        load_bundle(folder)


def test_a_file_that_is_read_is_the_one_that_was_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == read_regular(tmp_path / "a", 9, 5) == b"12345"
    for most, size in ((4, None), (9, 4)):
        with pytest.raises(OSError, match="5 bytes"):
            read_regular(tmp_path / "a", most, size)


def _external(where: str) -> bytes:
    """Return the tiny model with its weights in the file `secret`, in several places of a graph."""
    from onnx import TensorProto, helper, load_from_string

    model = load_from_string(tiny_model())
    tensor = TensorProto()
    tensor.CopyFrom(model.graph.initializer[0])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret"
    graph = helper.make_graph([], "inner", [], [], [tensor])
    constant = helper.make_node("Constant", [], ["x"], value=tensor)
    if where == "initializer":
        model.graph.initializer[0].CopyFrom(tensor)
    elif where == "constant":
        model.graph.node.append(constant)
    elif where == "subgraph":
        model.graph.node.append(
            helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        )
    elif where == "function":
        function = helper.make_function("d", "f", [], ["x"], [constant], [])
        model.functions.append(function)
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "tensors":
        model.graph.node.append(helper.make_node("X", [], ["x"], several=[tensor, tensor]))
    return bytes(model.SerializeToString())


WHERE = ["initializer", "constant", "subgraph", "function", "sparse", "tensors"]


@pytest.mark.parametrize("where", WHERE)
def test_no_weights_come_from_other_files(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(np.zeros((48, 16), np.float32).tobytes())
    folder = make_bundle(tmp_path / "b", model=_external(where))
    with pytest.raises(BundleError, match="keeps weights in other files"):
        load_bundle(folder)


@pytest.mark.parametrize("operator", ["Loop", "Scan", "BeamSearch", ""])
@pytest.mark.parametrize("inside", [False, True])
def test_a_model_that_may_run_without_end_is_refused(
    tmp_path: Path, operator: str, inside: bool
) -> None:
    from onnx import helper

    empty = helper.make_graph([], "inner", [], [])
    node = helper.make_node(operator, ["a", "b"], ["c"], body=empty)
    if inside:  # an If does end; what it holds is looked through
        branch = helper.make_graph([node], "branch", [], [])
        node = helper.make_node("If", ["a"], ["c"], then_branch=branch, else_branch=empty)
    folder = make_bundle(tmp_path / "b", model=_with(node))
    with pytest.raises(BundleError, match=f"has a loop \\('{operator}'\\)"):
        load_bundle(folder)


def test_a_model_with_branches_is_none_that_may_not_end() -> None:
    from onnx import helper

    branch = helper.make_graph([], "branch", [], [])
    node = helper.make_node("If", ["a"], [], then_branch=branch, else_branch=branch)
    assert repeating_operator(_with(node)) is None


def _with(node: Any) -> bytes:
    from onnx import load_from_string

    model = load_from_string(tiny_model())
    model.graph.node.append(node)
    return bytes(model.SerializeToString())


def test_any_bytes_are_read_to_their_end_or_refused() -> None:
    whole = tiny_model()
    assert not names_other_files(whole)
    rng = np.random.default_rng(0)
    for size in (1, 7, 100, len(whole) - 1):
        for _ in range(50):
            noise = bytes(rng.integers(0, 256, size, dtype=np.uint8))
            for data in (noise, whole[:size], noise + whole):
                for look in (names_other_files, repeating_operator):
                    with contextlib.suppress(ValueError):
                        look(data)
    nested = b""
    for _ in range(400):  # an attribute's graph in a node in an attribute's graph, and so on
        for tag in (0x32, 0x2A, 0x0A):
            nested = bytes([tag]) + _length(len(nested)) + nested
    with pytest.raises(ValueError, match="nested"):
        names_other_files(bytes([0x3A]) + _length(len(nested)) + nested)


def _length(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _length(rest) if rest else bytes([low])


@pytest.mark.parametrize("field", ["evaluation", "versions", "files", "scoring"])
def test_a_vast_manifest_is_refused_quickly(tmp_path: Path, field: str) -> None:
    fields: dict[str, Any] = manifest_fields(cohort_of(weights()))
    write_bundle(tmp_path / "b", fields, {"model.onnx": tiny_model(), "cohort.npy": npy(0)})
    document = json.loads((tmp_path / "b/manifest.json").read_bytes())
    vast = (
        {f"{n}": 0 for n in range(200_000)} if field in ("versions", "files") else [0] * 3_000_000
    )
    document[field] = (
        {**document[field], "centre": ["x"] * 2_000_000} if field == "scoring" else vast
    )
    began = time.process_time()
    with pytest.raises(BundleError, match=r"over the limit|too many"):
        Manifest.from_bytes(json.dumps(document).encode(), "it")
    assert time.process_time() - began < 5
