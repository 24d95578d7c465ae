"""ONNX Runtime's TensorRT provider: its cache is one device's, whole, and passed the gate.

The provider itself is a stand-in that writes a file as the real one does; it needs a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.engines import Cuda, Device
from support.runtime import SIZE, make_bundle, noisy, picture, reference_embeddings, weights

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.inference import session as session_module
from vision_edge.runtime.inference.onnx_runtime import create
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.inference.tensorrt import onnx_runtime as ort_cache

IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(3)])


class Provider:
    """ONNX Runtime on the CPU under the name of TensorRT; remembers what it found in its cache."""

    def __init__(self) -> None:
        self.found: list[list[str]] = []
        self.settings: dict[str, str] = {}
        self.wrong = False

    def create(self, bundle: Bundle, provider: str, settings: dict[str, str], options: Any) -> Any:
        assert provider == "tensorrt"
        self.settings = settings
        folder = Path(settings["trt_engine_cache_path"])
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "graph_sm87.engine").write_bytes(b"an engine")
        session = create(bundle, "cpu", {}, options)
        return Wrong() if self.wrong else session


class Wrong:
    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [-reference_embeddings(inputs["images"], weights())]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(session_module, "available_providers", lambda: ["tensorrt", "cpu"])
    return Device(monkeypatch)


@pytest.fixture
def provider(device: Device, monkeypatch: pytest.MonkeyPatch) -> Provider:
    provider = Provider()
    monkeypatch.setattr(ort_cache, "create", provider.create)
    return provider


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_bundle(tmp_path / "b"))


def test_auto_takes_it_once_it_was_built_by_name(provider: Provider, bundle: Bundle) -> None:
    assert open_session(bundle, threads=1).provider == "cpu"
    built = open_session(bundle, "tensorrt", threads=1)
    assert built.notes == ["tensorrt built its engines; the next start takes them from the bundle"]
    opened = open_session(bundle, threads=1)
    assert (opened.provider, opened.notes) == ("tensorrt", [])
    expected = reference_embeddings(IMAGES, weights())
    assert np.allclose(opened.embed(IMAGES), expected, atol=1e-4)
    assert provider.found == [[], ["checked.json", "graph_sm87.engine"]]
    load_bundle(bundle.path)


def test_its_profile_and_types_are_the_bundles(provider: Provider, bundle: Bundle) -> None:
    open_session(bundle, "tensorrt", threads=1)
    assert provider.settings["trt_profile_max_shapes"] == "images:8x32x32x3"
    assert provider.settings["trt_fp16_enable"] == "0"
    assert provider.settings["trt_layer_norm_fp32_fallback"] == "1"


@pytest.mark.parametrize("damage", ["changed", "gone", "another", "record"])
def test_a_cache_that_is_not_as_it_was_is_built_anew(
    provider: Provider, bundle: Bundle, damage: str
) -> None:
    open_session(bundle, "tensorrt", threads=1)
    (folder,) = (bundle.path / "engines").glob("onnxruntime-*")
    engine = folder / "graph_sm87.engine"
    if damage == "changed":
        engine.write_bytes(b"an engine!")
    elif damage == "gone":
        engine.unlink()
    elif damage == "another":
        (folder / "other.engine").write_bytes(b"x")
    else:
        (folder / "checked.json").write_text("{}")
    assert open_session(bundle, threads=1).provider == "cpu"
    open_session(bundle, "tensorrt", threads=1)
    assert provider.found[-1] == []


def test_another_device_has_another_cache(
    provider: Provider, device: Device, bundle: Bundle
) -> None:
    open_session(bundle, "tensorrt", threads=1)
    device.cuda = Cuda("Thor", (11, 0))
    assert open_session(bundle, threads=1).provider == "cpu"
    device.cuda.devices = 0
    assert open_session(bundle, threads=1).notes == []


def test_what_fails_the_gate_is_refused_at_every_start(provider: Provider, bundle: Bundle) -> None:
    provider.wrong = True
    with pytest.raises(BundleError, match="the gate refused it: cosine -1"):
        open_session(bundle, "tensorrt", threads=1)
    opened = open_session(bundle, threads=1)
    assert opened.provider == "cpu"
    assert "the gate refused it" in opened.notes[0]
