"""Compiling: one engine a key, whatever else happens: other processes, a full disk, a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.engines import Cuda, Device, TensorRt
from support.runtime import make_bundle, weights

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import EngineError
from vision_edge.runtime.inference.tensorrt.compiling import Compiled, compile_bundle
from vision_edge.runtime.inference.tensorrt.gpu import find_gpu
from vision_edge.runtime.inference.tensorrt.key import BatchProfile, BuildSettings
from vision_edge.runtime.inference.tensorrt.store import EngineStore

NATIVE = BuildSettings(flavour="tensorrt")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device with TensorRT."""
    return Device(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_bundle(tmp_path / "b"))


def compiled(bundle: Bundle, settings: BuildSettings = NATIVE, **options: bool) -> Compiled:
    return compile_bundle(bundle, settings, find_gpu(), **options)


def engines(bundle: Bundle) -> list[str]:
    return sorted(path.name for path in (bundle.path / "engines").glob("*.engine"))


def test_an_engine_is_built_once(device: Device, bundle: Bundle) -> None:
    first = compiled(bundle)
    again = compiled(bundle)
    assert (first.new, again.new, device.builds) == (True, False, 1)
    assert again.record == first.record
    assert compiled(bundle, force=True).new
    assert device.builds == 2
    assert len(engines(bundle)) == 1
    load_bundle(bundle.path)  # the folder of engines is no stranger in the bundle


def test_the_timing_cache_goes_into_the_next_build(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    assert device.timing is None
    compiled(bundle, force=True)
    assert device.timing == b"timings"
    (cache,) = (bundle.path / "engines").glob("timing-*")
    cache.write_bytes(cache.read_bytes() + b"!")
    compiled(bundle, force=True)
    assert device.timing is None


def renamed(device: Device) -> None:
    device.cuda = Cuda("Orin NX")


def updated(device: Device) -> None:
    device.trt = TensorRt("10.7.0")


def newer_cuda(device: Device) -> None:
    device.cuda.version = 12080


def newer_driver(device: Device) -> None:
    device.driver = "540.5.0"


@pytest.mark.parametrize("change", [updated, newer_cuda, newer_driver])
def test_an_outdated_engine_is_replaced_with_a_word(
    device: Device, bundle: Bundle, change: object
) -> None:
    old = compiled(bundle).record
    assert callable(change)
    change(device)
    said: list[str] = []
    done = compile_bundle(bundle, NATIVE, find_gpu(), say=said.append)
    assert (done.new, done.removed) == (True, 1)
    assert said == [f"removing {old.key.name}: the new engine takes its place"]
    assert engines(bundle) == [f"{done.record.key.name}.engine"]


def test_engines_of_other_devices_stay(device: Device, bundle: Bundle) -> None:
    compiled(bundle)
    renamed(device)
    compiled(bundle)
    device.rtx = TensorRt("1.7.1")
    ada = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.9",))
    compiled(bundle, ada)
    assert len(engines(bundle)) == 3
    both = ada.model_copy(update={"compute_capabilities": ("12.0", "8.9")})
    assert compiled(bundle, both).removed == 1
    assert len(engines(bundle)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tf32": True},
        {"workspace_mb": 512},
        {"version_compatible": True},
        {"batch": BatchProfile(maximum=4)},
    ],
    ids=str,
)
def test_everything_that_matters_makes_another_key(
    device: Device, bundle: Bundle, changes: dict[str, object]
) -> None:
    first = compiled(bundle).record.key
    second = compiled(bundle, NATIVE.model_copy(update=changes)).record.key
    assert first.name != second.name


def test_the_model_makes_another_key(device: Device, bundle: Bundle, tmp_path: Path) -> None:
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=2)))
    assert compiled(bundle).record.key.name != compiled(other).record.key.name


def test_what_a_killed_build_left_is_swept(device: Device, bundle: Bundle) -> None:
    folder = bundle.path / "engines"
    folder.mkdir()
    (folder / ".tensorrt-1-abc.tmp.engine").write_bytes(b"half")
    (folder / "tensorrt-1.engine").write_bytes(b"no record")
    (folder / "tensorrt-2.json").write_text("{}")
    name = compiled(bundle).record.key.name
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".cache") == [
        ".lock",
        f"{name}.engine",
        f"{name}.json",
    ]


def test_tensorrt_needs_the_device(device: Device, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="builds on the device that runs the engine"):
        compile_bundle(bundle, NATIVE, None)


def test_a_failed_build_leaves_the_engine_that_was_there(
    device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = compiled(bundle).record

    def fail(*_: object) -> None:
        raise EngineError("no memory")

    monkeypatch.setattr("vision_edge.runtime.inference.tensorrt.compiling.build", fail)
    with pytest.raises(EngineError, match="no memory"):
        compiled(bundle, force=True)
    assert EngineStore(bundle.path).read(old)


# From here on the builds are TensorRT-RTX's own, each in a process of its own.

COMPILE = """
import sys, json
from pathlib import Path
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.inference.tensorrt.compiling import compile_bundle
from vision_edge.runtime.inference.tensorrt.key import BuildSettings
settings = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.9",))
said = []
done = compile_bundle(load_bundle(sys.argv[1]), settings, None, say=said.append)
print(json.dumps([done.new, done.record.sha256, said]))
"""
LIMIT = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def started(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_build_one_engine(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    processes = [started(COMPILE, bundle.path) for _ in range(3)]
    answers = []
    for process in processes:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        answers.append(json.loads(out))
    assert sorted(new for new, _, _ in answers) == [False, False, True]
    assert len({digest for _, digest, _ in answers}) == 1
    store = EngineStore(bundle.path)
    (record,) = store.records()
    assert len(store.read(record)) == record.bytes


def test_a_full_disk_is_an_error_and_leaves_no_partial_file(bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    process = started(LIMIT + COMPILE, bundle.path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "EngineError" in errors
    assert "cannot be written (File too large); nothing was kept" in errors
    assert [path.name for path in (bundle.path / "engines").iterdir()] == [".lock"]
