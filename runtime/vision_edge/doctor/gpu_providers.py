"""ONNX Runtime's GPU providers: what each lacks, and which of two TensorRTs is meant."""

from __future__ import annotations

from dataclasses import replace

from vision_edge.doctor.engines import has_gpu
from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Answer, Host, ask

_LACKING = """
from vision_edge.runtime.errors import require
from vision_edge.runtime.inference.onnx_runtime import preload
from vision_edge.runtime.inference.provider_advice import advice, cuda_version, missing_library
onnxruntime = require("onnxruntime")
built = [name.removesuffix("ExecutionProvider").lower()
         for name in onnxruntime.get_available_providers()]
found = {}
for provider in ("cuda", "tensorrt"):
    if provider in built:
        preload(onnxruntime, provider)
        library = missing_library(onnxruntime, provider)
        fix = advice(library, cuda_version(onnxruntime)) if library else None
        found[provider] = [library, fix]
tell(lacking=found)
"""
_NAMES = {"cuda": "ONNX Runtime's CUDA", "tensorrt": "ONNX Runtime's TensorRT"}


def gpu_providers(host: Host) -> list[Finding]:
    """Look whether ONNX Runtime's GPU providers find their libraries."""
    answer = ask("onnxruntime", _LACKING)
    if answer.state != "ok":  # ONNX Runtime's own finding says it
        return []
    return [
        _provider(host, provider, library, fix)
        for provider, (library, fix) in answer.facts["lacking"].items()
    ]


def _provider(host: Host, provider: str, library: str | None, fix: str | None) -> Finding:
    facts = {"missing": library}
    if library is None:
        return Finding("engine", _NAMES[provider], "finds its libraries", facts=facts)
    finding = Finding(
        "engine", _NAMES[provider], f"cannot start: {library} is not here", "warning", fix, facts
    )
    if provider == "tensorrt" and "nvinfer" in library:
        return _without_tensorrt(finding)
    return finding if has_gpu(host) else replace(finding, state="info", fix=None)


def _without_tensorrt(finding: Finding) -> Finding:
    """Say whether another TensorRT is installed: it serves engines of our own all the same."""
    installed = _tensorrt()
    if installed.state != "ok":
        return replace(finding, state="info")
    version = installed.facts["version"]
    text = f"{finding.value}; the TensorRT {version} that is, serves `vision-edge compile` alone"
    return replace(finding, value=text)


def _tensorrt() -> Answer:
    return ask("tensorrt", "import tensorrt; tell(version=tensorrt.__version__)")
