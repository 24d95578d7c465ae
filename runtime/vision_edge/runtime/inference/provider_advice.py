"""Why a GPU provider of ONNX Runtime does not start here, and what that very build asks for."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError

_MISSING = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open")
_NEEDED = re.compile(r"libnv(?:infer|onnxparser)\w*\.so\.(\d+)")
_DRIVER = "NVIDIA's driver (`nvidia-smi` must show the GPU)"
_CAUSES = (
    (r"insufficient for CUDA runtime|cudaErrorInsufficientDriver", "the driver is too old",
     "update NVIDIA's driver: CUDA 13 asks for 580 or newer, CUDA 12 for 525"),
    (r"no CUDA-capable device|cudaErrorNoDevice|error 100", "there is no NVIDIA GPU here",
     "use --provider cpu; in a container, pass the GPU in (--gpus all)"),
    (r"out of memory|Failed to allocate memory|CUBLAS_STATUS_ALLOC_FAILED", "the GPU is full",
     "see with nvidia-smi who holds its memory, and free some"),
    (r"no kernel image is available", "this build has no code for the GPU's compute capability",
     "install another version of onnxruntime-gpu, or use --provider cpu"),
)  # fmt: skip


class ProviderError(VisionEdgeError):
    """A provider that is installed cannot be used here."""


def explained(ort: Any, provider: str, reason: str) -> ProviderError:
    """Return the error about a GPU provider that did not start.

    Args:
        ort: The module `onnxruntime`.
        provider: `"cuda"` or `"tensorrt"`.
        reason: What ONNX Runtime said, if anything.
    """
    for pattern, what, fix in _CAUSES:
        if re.search(pattern, reason):
            return ProviderError(what, fix=fix)
    library = missing_library(ort, provider)
    if library is None:
        said = reason or "ONNX Runtime fell back to the CPU and gave no reason"
        return ProviderError(said, fix="see what `vision-edge doctor` says of the GPU")
    return ProviderError(f"{library} is not here", fix=advice(library, cuda_version(ort)))


def missing_library(ort: Any, provider: str) -> str | None:
    """Return the first library that a provider of ONNX Runtime asks for in vain; None if all are.

    CUDA's and cuDNN's Python packages count once `onnxruntime.preload_dlls` has loaded them.
    """
    file = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so"
    if not file.exists():
        return None
    try:
        ctypes.CDLL(str(file))
    except OSError as error:
        found = _MISSING.search(str(error))
        return found[1] if found else None
    return None


def cuda_version(ort: Any) -> str | None:
    """Return the CUDA version that this ONNX Runtime was built for, such as `"13.0"`."""
    try:
        from importlib import import_module

        info = import_module(f"{ort.__name__}.capi.build_and_package_info")
    except ImportError:
        return None
    version = getattr(info, "cuda_version", None)
    return str(version) if version else None


def advice(library: str, cuda: str | None) -> str:
    """Return what brings a library that a provider lacks.

    Args:
        library: Its file name, such as `"libcublasLt.so.13"`.
        cuda: The CUDA version that ONNX Runtime was built for.
    """
    major = (cuda or "13").partition(".")[0]
    if library.startswith("libcuda.so"):
        return f"install {_DRIVER}"
    if needed := _NEEDED.match(library):
        return (
            f'pip install "vision-edge[onnxruntime-tensorrt]", which brings TensorRT {needed[1]}: '
            "this ONNX Runtime takes no other; `vision-edge compile` takes newer ones too"
        )
    asked = f"CUDA {major} and cuDNN 9" if major in ("12", "13") else f"CUDA {major}"
    return f'pip install "onnxruntime-gpu[cuda,cudnn]", or install {asked} on the system'
