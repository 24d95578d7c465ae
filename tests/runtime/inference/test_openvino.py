"""OpenVINO gives ONNX Runtime's embeddings, and says which arithmetic it used."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from support.runtime import DIM, SIZE, make_bundle, noisy, picture, tiny_model

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import Session, available_providers, open_session

pytest.importorskip("openvino")
IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(4)])


@pytest.fixture(scope="module")
def openvino(bundle_path: Path) -> Session:
    """The tiny bundle in OpenVINO."""
    return open_session(load_bundle(bundle_path), "openvino", threads=1)


def test_it_embeds_as_onnx_runtime_does(openvino: Session, session: Session) -> None:
    got = openvino.embed(IMAGES)
    assert got.dtype == np.float32
    assert got.shape == (4, DIM)
    assert np.allclose(got, session.embed(IMAGES), atol=1e-4)
    assert openvino.provider == "openvino"
    assert openvino.notes == []


def test_batches_of_any_size_and_answers_that_stay(openvino: Session) -> None:
    first = openvino.embed(IMAGES[:1])
    kept = first.copy()
    whole = openvino.embed(IMAGES)
    assert np.array_equal(first, kept)
    assert np.allclose(whole[:1], kept, atol=1e-5)
    assert np.abs(whole[1] - whole[0]).max() > 0.1


def test_threads_take_turns(openvino: Session) -> None:
    expected = [openvino.embed(image[None]) for image in IMAGES]
    same: list[bool] = []

    def work(number: int) -> None:
        got = (openvino.embed(IMAGES[number][None]) for _ in range(30))
        same.extend(np.array_equal(one, expected[number]) for one in got)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 120


def test_a_real_backbone_agrees_to_a_thousandth() -> None:
    bundle = load_bundle(asset("bundle"))
    size = bundle.manifest.preprocessing.size
    images = np.stack([noisy(picture(k, size), k) for k in range(2)])
    expected = open_session(bundle, "cpu", threads=1).embed(images)
    got = open_session(bundle, "openvino", threads=1).embed(images)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    assert ((expected * got).sum(axis=1) / lengths).min() > 1 - 1e-3


def test_another_arithmetic_is_used_or_said_not_to_be(bundle_path: Path) -> None:
    opened = open_session(
        load_bundle(bundle_path), "openvino", options=SessionOptions(precision="bf16", threads=1)
    )
    close = np.allclose(
        opened.embed(IMAGES), open_session(load_bundle(bundle_path), "cpu").embed(IMAGES), atol=1e-5
    )
    said = opened.notes == ["openvino computes in f32 here; bf16 was asked for"]
    assert close == said


def test_another_model_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", model=tiny_model(kind="FLOAT"))
    with pytest.raises(BundleError, match=r"a bundle's has images uint8 \(N, 32, 32, 3\)"):
        open_session(load_bundle(tmp_path / "b"), "openvino")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", model=b"\x08\x07\x12\x00")  # an empty protobuf
    with pytest.raises(BundleError, match="cannot be loaded on openvino"):
        open_session(load_bundle(tmp_path / "b"), "openvino")


def test_auto_leaves_it_to_be_asked_for(bundle_path: Path) -> None:
    assert "openvino" in available_providers()
    assert open_session(load_bundle(bundle_path), threads=1).provider != "openvino"
