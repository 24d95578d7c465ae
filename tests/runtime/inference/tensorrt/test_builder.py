"""Real builds by TensorRT-RTX, which needs no GPU; and TensorRT's settings, on a stand-in."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from support.runtime import SIZE, make_bundle, tiny_model

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BundleError, EngineError
from vision_edge.runtime.inference.tensorrt import builder as build_module
from vision_edge.runtime.inference.tensorrt.builder import build
from vision_edge.runtime.inference.tensorrt.key import BatchProfile, BuildSettings

ADA = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.9",))


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


class Watch:
    """TensorRT-RTX, with what was asked of it written down."""

    def __init__(self, trt: Any) -> None:
        self._trt = trt
        self.flags = 0
        self.network: Any = None
        self.config: Any = None
        watch = self

        class Builder(trt.Builder):  # type: ignore[misc]
            def create_network(self, flags: int) -> Any:
                watch.flags = flags
                watch.network = super().create_network(flags)
                return watch.network

            def create_builder_config(self) -> Any:
                watch.config = super().create_builder_config()
                return watch.config

        self.Builder = Builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watched = Watch(pytest.importorskip("tensorrt_rtx"))
    monkeypatch.setattr(build_module, "compiler", lambda flavour: watched)
    return watched


def test_an_engine_is_strongly_typed_with_a_free_batch(bundle: Bundle, watch: Watch) -> None:
    settings = ADA.model_copy(update={"batch": BatchProfile(minimum=1, optimum=2, maximum=4)})
    data, timing = build(bundle, settings)
    trt = watch._trt
    assert data[:4] == b"vtrt"
    assert timing is None
    assert watch.flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    images, embeddings = watch.network.get_input(0), watch.network.get_output(0)
    assert (images.dtype, tuple(images.shape)) == (trt.DataType.UINT8, (-1, SIZE, SIZE, 3))
    assert (embeddings.dtype, embeddings.shape[0]) == (trt.DataType.FLOAT, -1)
    assert not watch.config.get_flag(trt.BuilderFlag.TF32)
    assert watch.config.num_compute_capabilities == 1
    assert watch.config.num_optimization_profiles == 1


def test_several_gpus_and_the_shorter_float(bundle: Bundle, watch: Watch) -> None:
    both = ADA.model_copy(
        update={"compute_capabilities": ("8.6", "12.0"), "tf32": True, "workspace_mb": 64}
    )
    assert build(bundle, both)[0]
    trt = watch._trt
    assert watch.config.get_flag(trt.BuilderFlag.TF32)
    assert watch.config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 64 << 20
    assert [watch.config.get_compute_capability(index) for index in range(2)] == [
        trt.ComputeCapability.SM86,
        trt.ComputeCapability.SM120,
    ]


def test_the_same_settings_give_the_same_bytes(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    assert build(bundle, ADA) == build(bundle, ADA)


def test_the_bundle_that_ships_is_built() -> None:
    pytest.importorskip("tensorrt_rtx")
    shipped = load_bundle(asset("bundle"))
    data, _ = build(shipped, ADA)
    assert len(data) > len(shipped.model)


def test_a_gpu_that_the_compiler_does_not_know(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match=r"builds nothing for compute capability 8\.7") as caught:
        build(bundle, ADA.model_copy(update={"compute_capabilities": ("8.7",)}))
    assert "8.9" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("model", "error", "reason"),
    [
        (tiny_model().replace(b"MatMul", b"Mumble"), EngineError, "parser refuses the model"),
        (tiny_model(batch=1), BundleError, "a bundle's has images"),
        (tiny_model(kind="FLOAT"), BundleError, "a bundle's has images"),
    ],
    ids=["nonsense", "fixed batch", "float"],
)
def test_what_is_no_bundles_model_is_refused(
    tmp_path: Path, model: bytes, error: type[Exception], reason: str
) -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(error, match=reason):
        build(load_bundle(make_bundle(tmp_path / "b", model=model)), ADA)


class Recorder:
    """Stands for every object of TensorRT's builder, and writes down its calls."""

    def __init__(self, calls: list[tuple[str, Any]], answers: dict[str, Any]) -> None:
        self._calls, self._answers = calls, answers

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self._calls.append((name, arguments))
            return self._answers.get(name, self)

        return call


def native(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> list[tuple[str, Any]]:
    """Put a stand-in in TensorRT's place; return the list its calls go to."""
    calls: list[tuple[str, Any]] = []
    recorder = Recorder(calls, {"parse": True, "build_serialized_network": b"engine", **answers})

    class Logger:
        ERROR, INTERNAL_ERROR = 2, 1

    flags = types.SimpleNamespace(STRONGLY_TYPED=1)
    trt = types.SimpleNamespace(
        ILogger=Logger,
        Builder=lambda log: recorder,
        OnnxParser=lambda network, log: recorder,
        NetworkDefinitionCreationFlag=flags,
        BuilderFlag=types.SimpleNamespace(TF32="tf32", VERSION_COMPATIBLE="compatible"),
        MemoryPoolType=types.SimpleNamespace(WORKSPACE="workspace"),
    )
    recorder.serialize = lambda: b"timings"  # type: ignore[attr-defined]
    recorder.num_inputs = recorder.num_outputs = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(build_module, "compiler", lambda flavour: trt)
    monkeypatch.setattr(build_module, "check_ports", lambda *_: None)
    monkeypatch.setattr(build_module, "_ports", lambda *_: [])
    return calls


def test_tensorrt_gets_its_settings(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = native(monkeypatch)
    settings = BuildSettings(flavour="tensorrt", version_compatible=True, workspace_mb=2)
    assert build(bundle, settings, b"old timings") == (b"engine", b"timings")
    assert ("create_network", (2,)) in calls
    assert ("clear_flag", ("tf32",)) in calls
    assert ("set_flag", ("compatible",)) in calls
    assert ("set_memory_pool_limit", ("workspace", 2 << 20)) in calls
    assert ("create_timing_cache", (b"old timings",)) in calls
    shapes = [(count, SIZE, SIZE, 3) for count in (1, 1, 8)]
    assert ("set_shape", ("images", *shapes)) in calls
    assert not any("compute_capab" in name for name, _ in calls)


def test_a_build_that_fails_says_so(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Any] = {"build_serialized_network": None}
    native(monkeypatch, **answers)
    with pytest.raises(EngineError, match="TensorRT could not build an engine"):
        build(bundle, BuildSettings(flavour="tensorrt"))
