"""The doctor tells ONNX Runtime's TensorRT from the one that compiles engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_edge.doctor import gpu_providers
from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Answer, Host

CUDA = ["libcublasLt.so.13", "the fix for CUDA"]
NVINFER = ["libnvinfer.so.10", "the fix for TensorRT"]


def found(
    monkeypatch: pytest.MonkeyPatch, root: Path, lacking: dict[str, list[str | None]], trt: Answer
) -> list[Finding]:
    """Return what is found where the providers lack this, and TensorRT is so."""
    answers = {"onnxruntime": Answer("ok", {"lacking": lacking}), "tensorrt": trt}
    monkeypatch.setattr(gpu_providers, "ask", lambda module, _: answers[module])
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/nvidia0").touch()
    return gpu_providers.gpu_providers(Host(root))


def test_the_wrong_tensorrt_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lacking = {"cuda": [None, None], "tensorrt": NVINFER}
    newer = Answer("ok", {"version": "11.4.0.106"})
    cuda, tensorrt = found(monkeypatch, tmp_path, lacking, newer)
    assert (cuda.state, cuda.fix) == ("ok", None)
    assert tensorrt.state == "warning"
    assert "libnvinfer.so.10 is not here" in tensorrt.value
    assert "TensorRT 11.4.0.106 that is, serves `vision-edge compile` alone" in tensorrt.value
    assert tensorrt.fix == "the fix for TensorRT"
    _, tensorrt = found(monkeypatch, tmp_path, lacking, Answer("absent"))
    assert tensorrt.state == "info"  # nobody needs it


def test_a_gpu_without_cuda_is_a_warning_and_a_machine_without_a_gpu_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (cuda,) = found(monkeypatch, tmp_path, {"cuda": CUDA}, Answer("absent"))
    assert (cuda.state, cuda.fix) == ("warning", "the fix for CUDA")
    (tmp_path / "dev/nvidia0").unlink()
    (cuda,) = gpu_providers.gpu_providers(Host(tmp_path))
    assert (cuda.state, cuda.fix) == ("info", None)


def test_this_machine_is_looked_at() -> None:
    pytest.importorskip("onnxruntime")
    for finding in gpu_providers.gpu_providers(Host()):
        assert finding.name.startswith("ONNX Runtime's")
