"""Bundles of models without end, measure or sense are refused at their limits; the station goes on.

What loops is refused as it is read (`tests/runtime/bundles/test_hostile.py`); here is what no look
at the file can tell.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import LABELS, SIZE, make_bundle, noisy, picture, tiny_model

pytest.importorskip("fastapi")

from support.station import eventually, served, settings_for

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.system.limited_process import resident_mb
from vision_edge.station.fleet.bundles.examination import Examination
from vision_edge.station.settings.fleet import FleetSettings

TIGHT = {"memory_mb": 600.0, "embed_seconds": 1.0}


def with_nodes(*nodes: Any, constants: dict[str, Any]) -> bytes:
    """Return the tiny model with more nodes; the last one's output is added to the embeddings."""
    from onnx import helper, load_from_string, numpy_helper

    model = load_from_string(tiny_model())
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.extend(nodes)
    model.graph.node.append(helper.make_node("Add", ["plain", nodes[-1].output[0]], ["embeddings"]))
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return bytes(model.SerializeToString())


def vast_constant() -> bytes:
    """Return a model of 500 bytes more that asks for 32 GB as it is opened."""
    from onnx import helper

    return with_nodes(
        helper.make_node("ConstantOfShape", ["shape"], ["vast"]),
        helper.make_node("ReduceMean", ["vast"], ["mean"], keepdims=0),
        constants={"shape": np.array([1 << 33])},
    )


def vast_on_a_picture() -> bytes:
    """Return a model that asks for gigabytes on a bright picture, for little on a black one."""
    from onnx import TensorProto, helper

    return with_nodes(
        helper.make_node("ReduceMax", ["floats"], ["max"], keepdims=0),
        helper.make_node("Mul", ["max", "times"], ["product"]),
        helper.make_node("Cast", ["product"], ["many"], to=TensorProto.INT64),
        helper.make_node("Add", ["many", "one"], ["size"]),
        helper.make_node("Expand", ["max", "size"], ["vast"]),
        helper.make_node("ReduceMean", ["vast"], ["mean"], keepdims=0),
        constants={"times": np.float32(1e8), "one": np.array([1])},
    )


def slow(when_bright: bool) -> bytes:
    """Return a model of 100 products of 3000 x 3000 matrices, with a picture or always."""
    from onnx import TensorProto, helper

    source = "max" if when_bright else "full"
    nodes = [
        helper.make_node("ReduceMax", ["floats"], ["max"], keepdims=0),
        helper.make_node("Max", ["max", "bright"], ["full"]),
        helper.make_node("Mul", [source, "times"], ["product"]),
        helper.make_node("Cast", ["product"], ["many"], to=TensorProto.INT64),
        helper.make_node("Add", ["many", "one"], ["side"]),
        helper.make_node("Concat", ["side", "side"], ["shape"], axis=0),
        helper.make_node("Expand", ["max", "shape"], ["m0"]),
        *(helper.make_node("MatMul", ["m0", f"m{k}"], [f"m{k + 1}"]) for k in range(100)),
        helper.make_node("ReduceMean", ["m100"], ["huge"], keepdims=0),
        helper.make_node("Mul", ["huge", "zero"], ["mean"]),
    ]
    constants = {
        "bright": np.float32(250), "times": np.float32(12), "one": np.array([1]),
        "zero": np.float32(0),
    }  # fmt: skip
    return with_nodes(*nodes, constants=constants)


def deep() -> bytes:
    """Return a model of 100,000 nodes one after the other, each of another's output."""
    from onnx import helper

    nodes = [
        helper.make_node("Abs", ["one" if k == 0 else f"d{k}"], [f"d{k + 1}"])
        for k in range(100_000)
    ]
    return with_nodes(*nodes, constants={"one": np.float32(1)})


@pytest.mark.parametrize(
    ("model", "seconds", "said"),
    [
        (vast_constant, 30, "bad_alloc|bad allocation|memory|allocate"),
        (lambda: slow(False), 2, "longer than 2 s"),
        (deep, 2, "longer than 2 s|memory"),
        (lambda: tiny_model()[:-40], 30, "no ONNX file|not an ONNX file"),
        (lambda: b"\x08\x08" * 1000, 30, "model cannot be loaded"),
    ],
)
def test_a_model_that_cannot_be_opened_within_the_limits_is_refused(
    tmp_path: Path, model: Callable[[], bytes], seconds: float, said: str
) -> None:
    folder = make_bundle(tmp_path / "b", model=model())
    before = resident_mb(os.getpid())
    (tmp_path / "copy").mkdir()
    limits = {"memory_mb": 600, "open_seconds": seconds}
    with Examination(FleetSettings.model_validate({"trial": limits})) as examination:
        began = time.monotonic()
        with pytest.raises(BundleError, match=said) as caught:
            examination.bring(folder, tmp_path / "copy", "copy")
            began = time.monotonic()
            examination.opened(tmp_path / "copy", "cpu", 1)
    assert time.monotonic() - began < seconds + 2
    assert caught.value.fix
    assert resident_mb(os.getpid()) - before < 100


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (vast_on_a_picture, "bad_alloc|bad allocation|memory|allocate"),
        (lambda: slow(True), "longer than 1 s"),
    ],
)
def test_a_model_that_changes_on_a_picture_is_refused(
    tmp_path: Path, model: Callable[[], bytes], said: str
) -> None:
    folder = make_bundle(tmp_path / "b", model=model())
    with Examination(FleetSettings.model_validate({"trial": TIGHT})) as examination:
        opened = examination.opened(folder, "cpu", 1)
        assert np.isfinite(opened.embed(np.zeros((1, SIZE, SIZE, 3), np.uint8))).all()
        with pytest.raises(BundleError, match=said):
            opened.embed(np.full((1, SIZE, SIZE, 3), 255, np.uint8))


def test_an_examined_model_embeds_as_a_session_does(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    session = open_session(load_bundle(folder), "cpu", 1)
    with Examination(FleetSettings()) as examination:
        opened = examination.opened(folder, "cpu", 1)
        assert opened.spec == session.spec
        images = np.stack([prepare(picture(k), opened.spec) for k in range(3)])
        assert np.array_equal(opened.embed(images), session.embed(images))
        assert 0 < opened.seconds < 1
        with pytest.raises(BundleError, match="embeds uint8"):
            opened.embed(images[:, :8])


def test_all_of_it_has_a_limit(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    with (
        Examination(FleetSettings.model_validate({"trial": {"seconds": 0.01}})) as examination,
        pytest.raises(BundleError, match=r"longer than 0\.01 s in all"),
    ):
        time.sleep(0.02)
        examination.opened(folder, "cpu", 1)


def test_a_station_goes_on_while_a_stranger_s_model_runs_without_end(tmp_path: Path) -> None:
    incoming, shots = tmp_path / "incoming", tmp_path / "shots"
    make_bundle(tmp_path / "bundle", name="present")
    make_bundle(incoming / "slow", model=slow(True), name="slow")
    shots.mkdir()
    for number in range(6):
        assert cv2.imwrite(str(shots / f"{number}.png"), noisy(picture(number % 3, 96), number))
    fleet = {"bundle_from": str(incoming), "trial": TIGHT, "shadow": {"live_frames": 4}}
    settings = settings_for(tmp_path / "bundle", tmp_path / "gallery.db", shots, fleet=fleet)
    killed = tmp_path / "gallery.db.station" / "bundles" / "..new-killed.tmp"
    killed.mkdir(parents=True)
    with served(settings) as running:
        assert not killed.exists()
        with running.station.gallery("tester") as gallery:
            model = running.station.products.model
            for number, label in enumerate(LABELS):
                gallery.add(label, [snapshot_of(noisy(picture(number, 96), 50), model, label)])
        running.ok(running.post("/bundle", {"path": "slow"}), 202)
        seen: set[str] = set()

        def over() -> dict[str, Any] | None:
            document: dict[str, Any] = running.ok(running.get("/bundle"))
            seen.add(running.station.records(1)[0]["id"])
            return document if document["state"] == "failed" else None

        document = eventually(over, 30)
        assert "longer than 1 s" in document["error"]
        assert len(seen) > 3
        assert running.station.status()["bundle"]["name"] == "present"
        assert not list((tmp_path / "gallery.db.station" / "bundles").glob(".*"))
