"""`vision-edge compile` as a user meets it: ahead of time, on a device, and every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.engines import Device, TensorRt
from support.runtime import invoke, invoked, vision_edge

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import EngineError, VisionEdgeError
from vision_edge.runtime.inference import session as session_module
from vision_edge.runtime.inference.session import open_session


def error(*arguments: str | Path) -> str:
    """Run a command that must fail by an error of ours, and return what it says."""
    result = invoke(*arguments)
    assert isinstance(result.exception, VisionEdgeError), result.output
    return str(result.exception)


def test_ahead_of_time_without_a_gpu(bundle_copy: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    gpus = ["--compute-capability", "8.9", "--compute-capability", "12.0"]
    done = vision_edge("compile", bundle_copy, *gpus)
    assert done.returncode == 0, done.stderr
    assert "built; 0.3 MB" in done.stdout
    assert "not checked here" in done.stdout
    (record,) = (bundle_copy / "engines").glob("*.json")
    assert json.loads(record.read_text())["key"]["settings"]["compute_capabilities"] == [
        "12.0",
        "8.9",
    ]
    again = invoked("compile", bundle_copy, *gpus)
    assert "already there, whole and of the same key" in again
    assert open_session(load_bundle(bundle_copy), threads=1).provider == "cpu"


def test_on_a_device_it_is_checked_and_used(
    bundle_copy: Path, registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Device(monkeypatch)
    monkeypatch.setattr(session_module, "available_providers", lambda: ["engine", "cpu"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    said = invoked("compile", bundle_copy, "--gallery", registered)
    assert "built; 0.0 MB" in said
    assert "checked on Orin (compute capability 8.7, driver" in said
    assert "3 images (3 snapshots of registered.gallery)" in said
    opened = open_session(load_bundle(bundle_copy))
    assert (opened.provider, opened.notes) == ("engine", [])


def test_an_engine_that_differs_is_refused_and_never_used(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(monkeypatch)
    device.trt.spoilt = 1
    monkeypatch.setattr(session_module, "available_providers", lambda: ["engine", "cpu"])
    said = error("compile", bundle_copy, "--target", "tensorrt")
    assert "refused on Orin" in said
    assert "0.9999 is asked" in said
    opened = open_session(load_bundle(bundle_copy), threads=1)
    assert opened.provider == "cpu"
    assert "the gate refused it" in opened.notes[0]


def test_an_rtx_gpu_that_is_here_is_taken(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Device(monkeypatch).rtx = TensorRt("1.7.1")
    said = invoked("compile", bundle_copy, "--target", "tensorrt-rtx")
    assert "checked on Orin" in said
    (record,) = (bundle_copy / "engines").glob("tensorrt-rtx-*.json")
    assert json.loads(record.read_text())["key"]["settings"]["compute_capabilities"] == ["8.7"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--target", "tensorflow"], "--target 'tensorflow' is unknown"),
        (["--target", "tensorrt"], "builds on the device that runs the engine"),
        (["--target", "tensorrt-rtx"], "no GPU here whose compute capability could be taken"),
        (["--target", "tensorrt", "--compute-capability", "8.9"], "builds for the GPU it runs on"),
        (["--compute-capability", "ada"], "--compute-capability ada: "),
        (["--compute-capability", "8.9", "--min-batch", "4"], "batch sizes"),
    ],
)
def test_mistakes_are_explained(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], reason: str
) -> None:
    Device(monkeypatch).cuda.devices = 0
    said = error("compile", bundle_path, *options)
    assert reason in said
    assert "fix: " in said
    assert not (bundle_path / "engines").exists() or not list((bundle_path / "engines").iterdir())


def test_a_folder_that_cannot_be_written(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Device(monkeypatch)
    (bundle_copy / "engines").write_bytes(b"a file")
    with pytest.raises(VisionEdgeError):
        load_bundle(bundle_copy)
    (bundle_copy / "engines").unlink()
    monkeypatch.setattr(Path, "mkdir", _refuse)
    said = invoke("compile", bundle_copy, "--target", "tensorrt")
    assert isinstance(said.exception, EngineError)
    assert "cannot be written" in str(said.exception)


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_run_takes_the_sessions_options(bundle_path: Path, registered: Path, shots: Path) -> None:
    options = ["--gallery", registered, "--precision-hint", "bf16"]
    said = invoked("run", bundle_path, shots, *options)
    assert "3 verdict(s)" in said
    assert "--precision-hint belongs to --provider openvino" in error(
        "run", bundle_path, shots, *options, "--provider", "cpu"
    )
    assert "unknown precision hint 'f7'" in error(
        "run", bundle_path, shots, "--gallery", registered, "--precision-hint", "f7"
    )


def test_a_card_that_cannot_be_had_does_not_spoil_the_others(bundle_copy: Path) -> None:
    """On 7.5 TensorRT-RTX multiplies no float32 matrices, and 9.0 it does not know."""
    pytest.importorskip("tensorrt_rtx")
    wanted = [word for card in ("7.5", "8.9", "9.0") for word in ("--compute-capability", card)]
    result = invoke("compile", bundle_copy, *wanted)
    said = str(result.exception)
    assert isinstance(result.exception, EngineError)
    assert "7.5: TensorRT-RTX multiplies no float32 matrices there" in said
    assert "export it with --precision fp16" in said
    assert "9.0: TensorRT-RTX" in said
    (record,) = (bundle_copy / "engines").glob("*.json")
    assert json.loads(record.read_text())["key"]["settings"]["compute_capabilities"] == ["8.9"]


def test_cards_of_which_none_can_be_had_are_refused_before_building(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx")
    compiling = "vision_edge.runtime.inference.tensorrt.compiling.build"
    monkeypatch.setattr(compiling, lambda *_: pytest.fail("it was built"))
    said = error("compile", bundle_copy, "--compute-capability", "7.5")
    assert "no engine can be built for compute capability 7.5" in said
    assert "--precision fp16" in said
    assert not list((bundle_copy / "engines").glob("*.json"))
