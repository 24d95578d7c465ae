"""A GPU provider that does not start: the library that is missing, what brings it, no red lines."""

from __future__ import annotations

import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.inference import onnx_runtime
from vision_edge.runtime.inference import session as session_module
from vision_edge.runtime.inference.provider_advice import advice, explained, missing_library
from vision_edge.runtime.inference.session import open_session


def runtime_of(folder: Path) -> Any:
    """Return what stands for the module `onnxruntime`, installed in a folder."""
    (folder / "capi").mkdir(parents=True, exist_ok=True)
    return types.SimpleNamespace(__file__=str(folder / "__init__.py"), __name__="no_such_module")


def library(folder: Path, provider: str, needs: str) -> None:
    """Compile a provider's library that needs another, which is then taken away."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is installed")
    source, gone = folder / "empty.c", folder / needs
    source.write_text("int nothing(void) { return 0; }\n")
    shared = ["cc", "-shared", "-fPIC", str(source)]
    subprocess.run([*shared, f"-Wl,-soname,{needs}", "-o", str(gone)], check=True)
    target = folder / "capi" / f"libonnxruntime_providers_{provider}.so"
    subprocess.run([*shared, "-Wl,--no-as-needed", str(gone), "-o", str(target)], check=True)
    gone.unlink()


def test_the_missing_library_is_named_with_what_brings_it(tmp_path: Path) -> None:
    runtime = runtime_of(tmp_path)
    library(tmp_path, "cuda", "libcublasLt.so.99")
    library(tmp_path, "tensorrt", "libnvinfer.so.10")
    assert missing_library(runtime, "cuda") == "libcublasLt.so.99"
    error = explained(runtime, "cuda", "")
    assert error.what == "libcublasLt.so.99 is not here"
    assert error.fix is not None
    assert 'pip install "onnxruntime-gpu[cuda,cudnn]"' in error.fix
    error = explained(runtime, "tensorrt", "")
    assert error.what == "libnvinfer.so.10 is not here"
    assert error.fix is not None
    assert "vision-edge[onnxruntime-tensorrt]" in error.fix
    assert "TensorRT 10: this ONNX Runtime takes no other" in error.fix


def test_a_provider_that_lacks_nothing_is_not_blamed_on_a_library(tmp_path: Path) -> None:
    runtime = runtime_of(tmp_path)
    assert missing_library(runtime, "cuda") is None
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"no library")
    assert missing_library(runtime, "cuda") is None
    assert explained(runtime, "cuda", "strange").what == "strange"


@pytest.mark.parametrize(
    ("reason", "what", "fix"),
    [
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=0",
         "the driver is too old", "580"),
        ("CUDA failure 100: no CUDA-capable device is detected", "no NVIDIA GPU", "--gpus all"),
        ("CUDA failure 2: out of memory ; GPU=0", "the GPU is full", "nvidia-smi"),
        ("no kernel image is available for execution on the device", "compute capability",
         "another version"),
    ],
)  # fmt: skip
def test_what_cuda_says_is_explained(tmp_path: Path, reason: str, what: str, fix: str) -> None:
    error = explained(runtime_of(tmp_path), "cuda", reason)
    assert what in error.what
    assert error.fix is not None
    assert fix in error.fix


def test_the_cuda_that_this_build_was_made_for_is_asked_for() -> None:
    assert "CUDA 12 and cuDNN 9" in advice("libcublas.so.12", "12.8")
    assert "CUDA 13 and cuDNN 9" in advice("libcublas.so.13", "13.0")
    assert "driver" in advice("libcuda.so.1", "13.0")


def test_a_session_says_it_and_onnx_runtime_says_nothing(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a computer without CUDA: ONNX Runtime logs an error and goes on on the CPU."""
    import onnxruntime

    severities: list[int] = []

    class OnTheCpuAfterAll:
        def __init__(self, *_: Any, enable_fallback: int, **__: Any) -> None:
            assert enable_fallback == 0
            assert severities == [4]

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(session_module, "available_providers", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", severities.append)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpuAfterAll)
    monkeypatch.setattr(
        onnx_runtime,
        "explained",
        lambda _, provider, reason: explained(runtime_of(bundle_path.parent), provider, reason),
    )
    with pytest.raises(BundleError, match=r"cuda \(ONNX Runtime fell back to the CPU") as caught:
        open_session(load_bundle(bundle_path), "cuda")
    assert severities == [4, 2]
    assert caught.value.fix is not None
    assert "export the bundle again" not in caught.value.fix
