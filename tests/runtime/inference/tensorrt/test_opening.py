"""Sessions on engines: the right one, whole and found good on this device, or a loud fallback.

TensorRT and CUDA are stand-ins here (`support.engines`); everything else is real.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from support.engines import Cuda, Device, TensorRt
from support.runtime import DIM, SIZE, make_bundle, noisy, picture, reference_embeddings, weights

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import BundleError, EngineError
from vision_edge.runtime.inference import session as session_module
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.inference.tensorrt.compiling import compile_bundle
from vision_edge.runtime.inference.tensorrt.gpu import find_gpu
from vision_edge.runtime.inference.tensorrt.key import BatchProfile, BuildSettings
from vision_edge.runtime.inference.tensorrt.opening import has_engines, open_engine
from vision_edge.runtime.inference.tensorrt.store import EngineRecord, EngineStore

IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(20)])
EXPECTED = reference_embeddings(IMAGES, weights())
NATIVE = BuildSettings(flavour="tensorrt")
RTX = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.7",))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device with TensorRT, and every provider in `auto`'s list but CUDA."""
    monkeypatch.setattr(session_module, "available_providers", lambda: ["engine", "cpu"])
    return Device(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_bundle(tmp_path / "b"))


def compiled(bundle: Bundle, settings: BuildSettings = NATIVE) -> EngineRecord:
    return compile_bundle(bundle, settings, find_gpu()).record


def reason(bundle: Bundle) -> str:
    """Return why no engine is used; the session must have fallen back and said so."""
    opened = open_session(bundle, threads=1)
    assert opened.provider == "cpu"
    (note,) = opened.notes
    assert note.startswith("engine is there but cannot be used (")
    assert "); falling back (to mend it: " in note
    assert np.allclose(opened.embed(IMAGES), EXPECTED, atol=1e-4)
    return note


def test_an_engine_is_preferred_and_gives_the_right_numbers(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    opened = open_session(bundle)
    assert opened.provider == "engine"
    for count in (1, 3, 8, 20):
        got = opened.embed(IMAGES[:count])
        assert got.dtype == np.float32
        assert np.allclose(got, EXPECTED[:count], atol=1e-4)
    assert device.trt.runs[-3:] == [8, 8, 4]


def test_without_an_engine_auto_says_nothing_and_a_name_says_what_to_do(
    device: Device, bundle: Bundle
) -> None:
    opened = open_session(bundle, threads=1)
    assert (opened.provider, opened.notes) == ("cpu", [])
    assert not has_engines(bundle)
    with pytest.raises(BundleError, match="there is no engine"):
        open_session(bundle, "engine")


def test_the_first_session_on_a_device_tries_the_engine_and_the_next_does_not(
    device: Device, bundle: Bundle
) -> None:
    compiled(bundle)
    notes: list[str] = []
    open_engine(bundle, notes)
    assert len(notes) == 1
    assert notes[0].startswith("the engine was tried on 12 images and agrees")
    tried = len(device.trt.runs)
    assert tried > 13
    open_engine(bundle, notes)
    assert len(device.trt.runs) == tried + 1  # the warm-up alone
    assert len(notes) == 1
    (gate,) = EngineStore(bundle.path).records()[0].gates.values()
    assert gate.passed
    assert gate.min_cosine > 0.9999


def test_an_engine_that_is_not_the_same_model_is_refused_for_good(
    device: Device, bundle: Bundle
) -> None:
    compiled(bundle)
    device.trt.spoilt = 1
    assert "the gate refused it on Orin" in reason(bundle)
    tried = len(device.trt.runs)
    assert "the gate refused it" in reason(bundle)
    assert len(device.trt.runs) == tried + 1
    assert not next(iter(EngineStore(bundle.path).records()[0].gates.values())).passed


def test_values_that_are_not_finite_do_not_pass(
    device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(bundle)
    nothing = np.full((1, DIM), np.nan, np.float32)
    monkeypatch.setattr("support.engines.reference_embeddings", lambda *_: nothing)
    assert "cosine -1.00000" in reason(bundle)


@pytest.mark.parametrize("kind", ["cut", "changed", "gone", "empty"])
def test_a_damaged_engine_never_reaches_tensorrt(device: Device, bundle: Bundle, kind: str) -> None:
    record = compiled(bundle)
    path = bundle.path / "engines" / f"{record.key.name}.engine"
    data = path.read_bytes()
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-3], "changed": data[:-1] + b"!", "empty": b""}[kind])
    said = reason(bundle)
    assert "cannot be read" in said if kind == "gone" else "altered or cut short" in said
    assert device.trt.deserialised == []
    assert compile_bundle(bundle, NATIVE, find_gpu()).new
    assert open_session(bundle).provider == "engine"


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"[1, 2"])
def test_a_damaged_record_is_none(device: Device, bundle: Bundle, damage: bytes) -> None:
    record = compiled(bundle)
    (bundle.path / "engines" / f"{record.key.name}.json").write_bytes(damage)
    assert open_session(bundle, threads=1).provider == "cpu"
    assert device.trt.deserialised == []
    assert compile_bundle(bundle, NATIVE, find_gpu()).new


def test_a_record_under_anothers_name_is_none(device: Device, bundle: Bundle) -> None:
    record = compiled(bundle)
    folder = bundle.path / "engines"
    (folder / f"{record.key.name}.json").rename(folder / "tensorrt-00.json")
    assert not has_engines(bundle)


def test_an_engine_of_another_gpu_is_refused_by_name(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    device.cuda = Cuda("Thor", (11, 0))
    assert "was built for compute capability 8.7; Thor has 11.0" in reason(bundle)
    device.cuda = Cuda("Orin Nano", (8, 7))
    assert "was built for the GPU Orin, here is Orin Nano" in reason(bundle)
    assert device.trt.deserialised == []


def test_an_engine_of_another_version_is_refused(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    device.trt = TensorRt("10.7.0")
    assert "was built with TensorRT 10.3.0, installed is 10.7.0" in reason(bundle)
    device.trt = TensorRt()
    device.cuda.version = 13000
    assert "was built for the CUDA 12.6, here is 13.0" in reason(bundle)
    device.cuda.version = 12060
    device.driver = "540.5.0"
    assert "was built for the driver 540.4.0, here is 540.5.0" in reason(bundle)


def test_a_version_compatible_engine_runs_in_a_newer_version_of_its_major(
    device: Device, bundle: Bundle
) -> None:
    compiled(bundle, NATIVE.model_copy(update={"version_compatible": True}))
    device.trt = TensorRt("10.13.2")
    assert open_session(bundle).provider == "engine"
    assert device.trt.runtime.engine_host_code_allowed
    device.trt = TensorRt("11.0.0")
    assert "installed is 11.0.0" in reason(bundle)


def test_an_engine_of_another_model_is_refused(
    device: Device, bundle: Bundle, tmp_path: Path
) -> None:
    compiled(bundle)
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=5)))
    (bundle.path / "engines").rename(other.path / "engines")
    with pytest.raises(EngineError, match="it was built from another model"):
        open_engine(other, [])


def test_what_tensorrt_refuses_and_what_does_not_run_falls_back(
    device: Device, bundle: Bundle
) -> None:
    compiled(bundle)
    device.trt.accepts = False
    assert "TensorRT refuses the engine" in reason(bundle)
    device.trt.accepts = True
    device.trt.runs_well = False
    assert "the engine failed to run" in reason(bundle)
    device.trt.runs_well = True
    device.cuda.room = 10
    assert "cudaErrorMemoryAllocation" in reason(bundle)


def test_no_gpu_falls_back(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    device.cuda.devices = 0
    assert "there is no NVIDIA GPU that CUDA can use (CUDA: cudaErrorNoDevice)" in reason(bundle)


def test_one_engine_that_fits_is_enough_and_the_others_are_named(
    device: Device, bundle: Bundle
) -> None:
    device.rtx = TensorRt("1.7.1")
    compiled(bundle, RTX)
    compiled(bundle)
    device.trt = TensorRt("10.7.0")
    opened = open_session(bundle)
    assert opened.provider == "engine"
    assert any("was built with TensorRT 10.3.0" in note for note in opened.notes)


def test_an_engine_whose_compiler_is_not_installed(device: Device, bundle: Bundle) -> None:
    device.rtx = TensorRt("1.7.1")
    compiled(bundle, RTX)
    device.rtx = None
    assert "TensorRT-RTX is not installed" in reason(bundle)


def test_kernels_that_tensorrt_rtx_compiled_are_kept(device: Device, bundle: Bundle) -> None:
    device.rtx = TensorRt("1.7.1")
    compiled(bundle, RTX)
    assert open_session(bundle).provider == "engine"
    assert open_session(bundle).provider == "engine"
    assert device.rtx.kernels == [b"nothing", b"kernels"]
    (cache,) = (bundle.path / "engines").glob("kernels-*")
    cache.write_bytes(cache.read_bytes()[:-1] + b"!")
    assert open_session(bundle).provider == "engine"
    assert device.rtx.kernels[-1] == b"nothing"


def test_batches_below_the_smallest_are_filled_up(device: Device, bundle: Bundle) -> None:
    compiled(bundle, NATIVE.model_copy(update={"batch": BatchProfile(minimum=4, optimum=4)}))
    device.trt.smallest = 4
    opened = open_session(bundle)
    assert opened.provider == "engine"
    assert np.allclose(opened.embed(IMAGES[:2]), EXPECTED[:2], atol=1e-4)
    assert device.trt.runs[-1] == 4


def test_threads_take_turns_and_memory_is_given_back(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    runner = open_engine(bundle, [])
    right: list[bool] = []

    def work(number: int) -> None:
        for _ in range(30):
            got = runner.run(IMAGES[number][None])
            right.append(np.allclose(got[0], EXPECTED[number], atol=1e-4))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 120
    assert len(device.cuda.memory) == 2
    runner.close()
    assert (device.cuda.memory, device.cuda.streams) == ({}, 0)
    runner.close()


def test_a_bundle_that_cannot_be_written_is_tried_at_every_start(
    device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(bundle)

    def refuse(*_: object, **__: object) -> None:
        raise EngineError("read-only")

    monkeypatch.setattr(EngineStore, "update", refuse)
    for _ in range(2):
        opened = open_session(bundle)
        assert opened.provider == "engine"
        assert any("was tried on" in note for note in opened.notes)
