"""Sessions: the right numbers, the right provider, and nothing that is not a bundle's model."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.runtime import (
    DIM,
    SIZE,
    make_bundle,
    noisy,
    picture,
    reference_embeddings,
    tiny_model,
    weights,
)

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference import session as session_module
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import (
    PROVIDERS,
    Session,
    available_providers,
    open_session,
)
from vision_edge.runtime.system.cpus import usable_cpus

IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(5)])


def test_embeddings_are_those_of_plain_numpy(session: Session) -> None:
    got = session.embed(IMAGES)
    assert got.dtype == np.float32
    assert got.shape == (5, DIM)
    assert np.allclose(got, reference_embeddings(IMAGES, weights()), atol=1e-4)


def test_a_batch_equals_its_images_one_by_one(session: Session) -> None:
    single = np.concatenate([session.embed(image[None]) for image in IMAGES])
    assert np.allclose(session.embed(IMAGES), single, atol=1e-5)


def test_another_image_gives_another_answer_every_time(session: Session) -> None:
    first, second = (session.embed(IMAGES[k : k + 1]).copy() for k in (0, 1))
    assert np.abs(first - second).max() > 0.1
    assert np.array_equal(session.embed(IMAGES[:1]), first)


def test_an_answer_is_not_overwritten_by_the_next(session: Session) -> None:
    first = session.embed(IMAGES[:1])
    kept = first.copy()
    session.embed(IMAGES[1:2])
    assert np.array_equal(first, kept)


def test_colour_order_matters(session: Session) -> None:
    assert np.abs(session.embed(IMAGES[:1]) - session.embed(IMAGES[:1, :, :, ::-1])).max() > 0.1


def test_embed_frame_prepares_first(session: Session) -> None:
    frame = noisy(picture(3, 96), 3)[:, 10:90]
    got = embed_frame(session, frame)
    assert got.shape == (DIM,)
    middle = prepare(cropped(frame, FRAME_CROP), session.spec)
    assert np.array_equal(got, session.embed(middle[None])[0])
    whole = embed_frame(session, frame, share=1.0)
    assert np.array_equal(whole, session.embed(prepare(frame, session.spec)[None])[0])


def test_a_session_says_what_it_is(session: Session) -> None:
    assert session.name == "tiny – ⚙ (cpu)"
    assert session.provider == "cpu"
    assert session.spec.size == SIZE
    assert session.notes == []


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype(np.float32),
        IMAGES[0],
        IMAGES[:, :-1],
        IMAGES[..., :1],
        IMAGES.transpose(0, 3, 1, 2),
    ],
    ids=lambda images: f"{images.dtype}{images.shape}",
)
def test_what_was_not_prepared_is_refused(session: Session, images: Any) -> None:
    with pytest.raises(VisionEdgeError, match="a session embeds uint8") as caught:
        session.embed(images)
    assert f"got {images.dtype} {images.shape}" in str(caught.value)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    matrix = weights()
    for value in (np.nan, np.inf):
        matrix[3, 5] = value
        make_bundle(tmp_path / "b", model=tiny_model(matrix))
        broken = open_session(load_bundle(tmp_path / "b"), "cpu", threads=1)
        with pytest.raises(VisionEdgeError, match="not finite"):
            broken.embed(IMAGES)


@pytest.mark.parametrize(
    "model",
    [
        tiny_model(batch=1),
        tiny_model(kind="FLOAT"),
        tiny_model(kind="INT8"),
        tiny_model(names=("image", "embeddings")),
        tiny_model(names=("images", "features")),
        tiny_model(size=SIZE * 2),
        tiny_model(weights(dim=DIM + 1)),
    ],
    ids=["batch of 1", "float", "int8", "input name", "output name", "size", "dimension"],
)
def test_a_model_with_another_signature_is_refused(tmp_path: Path, model: bytes) -> None:
    make_bundle(tmp_path / "b", model=model)
    with pytest.raises(BundleError, match=r"a bundle's has images uint8 \(N, 32, 32, 3\)"):
        open_session(load_bundle(tmp_path / "b"), "cpu", threads=1)


def test_a_second_output_is_refused(tmp_path: Path) -> None:
    import onnx

    model = onnx.load_from_string(tiny_model())
    extra = onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, ["n", 48])
    model.graph.output.append(extra)
    make_bundle(tmp_path / "b", model=model.SerializeToString())
    with pytest.raises(BundleError, match="flat"):
        open_session(load_bundle(tmp_path / "b"), "cpu", threads=1)


def test_what_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", model=b"\x08\x08")  # of IR version 8, and nothing else
    for provider in ("cpu", "auto"):
        with pytest.raises(BundleError, match="cannot be loaded on cpu") as caught:
            open_session(load_bundle(tmp_path / "b"), provider)
        assert str(tmp_path / "b") in str(caught.value)
        assert caught.value.fix
    make_bundle(tmp_path / "c", model=b"not a model")
    with pytest.raises(BundleError, match="not an ONNX file"):
        load_bundle(tmp_path / "c")


def test_an_unknown_provider_is_refused_with_the_known_ones(bundle_path: Path) -> None:
    with pytest.raises(VisionEdgeError, match="unknown provider 'gpu'") as caught:
        open_session(load_bundle(bundle_path), "gpu")
    assert caught.value.fix == "use one of auto, engine, tensorrt, cuda, openvino, cpu"


def test_a_provider_that_is_not_built_in_is_refused_with_those_that_are(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "available_providers", lambda: ["cuda", "cpu"])
    message = re.escape("'tensorrt' is not on this machine (it has: cuda, cpu)")
    with pytest.raises(VisionEdgeError, match=message):
        open_session(load_bundle(bundle_path), "tensorrt")


def fail_on(provider: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make one provider fail to start on a machine that has three; return what is tried."""
    opened = session_module._opened
    tried: list[str] = []

    def start(bundle: Any, name: str, options: Any, notes: Any) -> Any:
        tried.append(name)
        if name == provider:
            raise error
        return opened(bundle, "cpu", options, notes)

    monkeypatch.setattr(session_module, "available_providers", lambda: ["tensorrt", "cuda", "cpu"])
    monkeypatch.setattr(session_module, "_is_for_auto", lambda *_: True)
    monkeypatch.setattr(session_module, "_opened", start)
    return tried


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no driver\nstack\nof lines"), "no driver"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_auto_falls_back_and_says_so(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    tried = fail_on("tensorrt", error, monkeypatch)
    opened = open_session(load_bundle(bundle_path), "auto", threads=1)
    assert tried == ["tensorrt", "cuda"]
    assert opened.provider == "cuda"
    assert opened.notes == [f"tensorrt is there but cannot be used ({reason}); falling back"]
    assert opened.embed(IMAGES).shape == (5, DIM)


def test_a_provider_that_was_named_is_never_replaced(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = fail_on("cuda", RuntimeError("no driver"), monkeypatch)
    with pytest.raises(BundleError, match=r"cannot be loaded on cuda \(no driver\)"):
        open_session(load_bundle(bundle_path), "cuda")
    assert tried == ["cuda"]


def test_a_silent_fallback_of_onnx_runtime_is_noticed(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    class OnTheCpuAfterAll:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(session_module, "available_providers", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpuAfterAll)
    with pytest.raises(BundleError, match=r"cuda \(ONNX Runtime fell back to the CPU"):
        open_session(load_bundle(bundle_path), "cuda")


def test_auto_takes_nothing_that_would_build_for_minutes(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "available_providers", lambda: list(PROVIDERS))
    opened = open_session(load_bundle(bundle_path), threads=1)
    assert opened.provider == "cpu"
    assert [note.split()[0] for note in opened.notes] == ["cuda"]


def test_a_model_that_is_not_a_bundles_is_no_reason_to_fall_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "available_providers", lambda: ["openvino", "cpu"])
    monkeypatch.setattr(session_module, "_is_for_auto", lambda *_: True)
    pytest.importorskip("openvino")
    make_bundle(tmp_path / "b", model=tiny_model(batch=1))
    with pytest.raises(BundleError, match="a bundle's has images"):
        open_session(load_bundle(tmp_path / "b"))


def test_a_provider_that_cannot_run_one_image_is_left_at_opening(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OutOfMemory:
        def run(self, images: Any) -> Any:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setitem(session_module._OPENERS, "cuda", lambda *_: OutOfMemory())
    monkeypatch.setattr(session_module, "available_providers", lambda: ["cuda", "cpu"])
    opened = open_session(load_bundle(bundle_path), threads=1)
    assert opened.provider == "cpu"
    assert opened.notes == ["cuda is there but cannot be used (CUDA out of memory); falling back"]
    cold = SessionOptions(warm_up=False)
    assert open_session(load_bundle(bundle_path), options=cold).provider == "cuda"


def test_a_server_is_asked_by_its_own_module(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Runner:
        address, notes = "triton://station:8001/tiny", ["a note"]

    runner, module = Runner(), ModuleType("triton")
    module.open_triton = lambda bundle, address: runner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vision_edge.runtime.inference.triton", module)
    opened = open_session(load_bundle(bundle_path), "triton://station:8001/tiny")
    assert (opened.provider, opened.notes) == ("triton://station:8001/tiny", ["a note"])
    assert opened._runner is runner


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threads": 0}, "at least 1"),
        ({"precision": "f8"}, "'f8'"),
        ({"spinning": "maybe"}, "'maybe'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: Any, reason: str) -> None:
    with pytest.raises(VisionEdgeError, match=reason):
        SessionOptions(**options)


def test_threads_do_not_burn_the_pause_between_images(bundle_path: Path) -> None:
    opened = open_session(load_bundle(bundle_path), "cpu", threads=2)
    opened.embed(IMAGES)
    started = time.process_time()
    for _ in range(10):
        opened.embed(IMAGES)
        time.sleep(0.02)
    assert time.process_time() - started < 0.1


def test_threads_said_twice_are_those_of_the_call(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    opener = session_module._OPENERS["cpu"]

    def watch(bundle: Any, options: Any, notes: Any) -> Any:
        seen.append(options.cpu_threads)
        return opener(bundle, options, notes)

    monkeypatch.setitem(session_module._OPENERS, "cpu", watch)
    open_session(load_bundle(bundle_path), "cpu", 3, SessionOptions(threads=2))
    open_session(load_bundle(bundle_path), "cpu", options=SessionOptions(threads=2))
    open_session(load_bundle(bundle_path), "cpu")
    assert seen == [3, 2, usable_cpus()]


def test_no_provider_at_all_is_an_error(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "available_providers", list)
    with pytest.raises(VisionEdgeError, match="no provider"):
        open_session(load_bundle(bundle_path))


def test_the_cpu_is_always_there_and_last() -> None:
    assert available_providers()[-1] == "cpu"


@pytest.mark.parametrize("threads", [1, 2, None])
def test_the_number_of_threads_changes_nothing_but_speed(
    bundle_path: Path, session: Session, threads: int | None
) -> None:
    other = open_session(load_bundle(bundle_path), "cpu", threads=threads)
    assert np.allclose(other.embed(IMAGES), session.embed(IMAGES), atol=1e-5)
