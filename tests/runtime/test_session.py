"""Sessions: the right numbers, the right provider, and nothing that is not a bundle's model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_runtime import (
    DIM,
    SIZE,
    make_bundle,
    noisy,
    picture,
    reference_embeddings,
    tiny_model,
    weights,
)

from vision_edge.runtime import session as session_module
from vision_edge.runtime.bundle import load_bundle
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.preprocess import prepare
from vision_edge.runtime.session import (
    Session,
    available_providers,
    embed_frame,
    open_session,
)

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
    assert np.array_equal(got, session.embed(prepare(frame, session.spec)[None])[0])


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
    make_bundle(tmp_path / "b", model=b"not a model")
    for provider in ("cpu", "auto"):
        with pytest.raises(BundleError, match="cannot be loaded on cpu") as caught:
            open_session(load_bundle(tmp_path / "b"), provider)
        assert str(tmp_path / "b") in str(caught.value)
        assert caught.value.fix


def test_an_unknown_provider_is_refused_with_the_known_ones(bundle_path: Path) -> None:
    with pytest.raises(VisionEdgeError, match="unknown provider 'gpu'") as caught:
        open_session(load_bundle(bundle_path), "gpu")
    assert caught.value.fix == "use one of auto, tensorrt, cuda, openvino, cpu"


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
    with pytest.raises(BundleError, match=r"cuda \(ONNX Runtime fell back to CPUExecution"):
        open_session(load_bundle(bundle_path), "cuda")


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
