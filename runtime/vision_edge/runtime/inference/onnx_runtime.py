"""A bundle's model in ONNX Runtime: on the CPU, on CUDA, or through its TensorRT provider."""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import require
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.provider_advice import explained
from vision_edge.runtime.inference.runner import Port, Runner, check_ports

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""ONNX Runtime's names of the providers, best first."""
_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_WARNINGS, _ERRORS_ONLY, _FATAL_ONLY = 2, 3, 4


class OrtRunner:
    """An ONNX Runtime session that takes and gives arrays; several threads may call it at once."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR as new float32 (N, D)."""
        (embeddings,) = self._session.run(["embeddings"], {"images": images})
        result: Embeddings = np.asarray(embeddings, dtype=np.float32)
        return result

    def run_both(self, images: Image) -> tuple[Embeddings, Patches]:
        """Return new float32 (N, D) and, of a model that has them, patches (N, T, D)."""
        embeddings, patches = self._session.run(["embeddings", "patches"], {"images": images})
        return np.asarray(embeddings, np.float32), np.asarray(patches, np.float32)


def built_in() -> list[str]:
    """Return the providers that this machine's ONNX Runtime was built with, best first."""
    built = require("onnxruntime").get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in built]


def open_ort(bundle: Bundle, provider: str, options: SessionOptions) -> Runner:
    """Load a bundle's model in ONNX Runtime.

    Args:
        bundle: A verified bundle.
        provider: A name of `PROVIDERS`.
        options: Threads, spinning, precision, IO binding and CUDA graphs.

    Raises:
        BundleError: If the model is not a bundle's.
        ProviderError: If a GPU provider does not start here: with what it lacks.
        RuntimeError: Any error of ONNX Runtime's own on the CPU.
    """
    session = create(bundle, provider, _settings(provider, options), options)
    if provider == "cuda" and (options.io_binding or options.cuda_graph):
        from vision_edge.runtime.inference.gpu_buffers import BoundRunner

        dim = bundle.manifest.embedding_dim
        return BoundRunner(session, dim, device="cuda", graphs=options.cuda_graph)
    return OrtRunner(session)


def create(bundle: Bundle, provider: str, settings: dict[str, str], options: SessionOptions) -> Any:
    """Create the session, and check that it runs where it should and is a bundle's model."""
    ort = require("onnxruntime")
    make = _created if provider == "cpu" else _on_gpu
    session = make(ort, bundle, provider, settings, options)
    check_ports(bundle, _ports(session.get_inputs()), _ports(session.get_outputs()))
    return session


def _created(
    ort: Any, bundle: Bundle, provider: str, settings: dict[str, str], options: SessionOptions
) -> Any:
    # The CPU stands last for the nodes that no GPU takes (shapes); the check below sees the rest.
    names = list(dict.fromkeys((PROVIDERS[provider], *_below(provider), PROVIDERS["cpu"])))
    per_provider = [settings if name == PROVIDERS[provider] else {} for name in names]
    return ort.InferenceSession(
        bundle.model,
        session_options(options),
        providers=names,
        provider_options=per_provider,
        enable_fallback=0,  # it would print and go on elsewhere
    )


def _on_gpu(
    ort: Any, bundle: Bundle, provider: str, settings: dict[str, str], options: SessionOptions
) -> Any:
    """Create a session on a GPU provider; what it lacks is an error of ours, and nothing printed.

    Raises:
        ProviderError: If it does not start here.
    """
    preload(ort, provider)
    ort.set_default_logger_severity(_FATAL_ONLY)  # it writes to the terminal past every setting
    try:
        session = _created(ort, bundle, provider, settings, options)
    except Exception as error:
        raise explained(ort, provider, str(error)) from error
    finally:
        ort.set_default_logger_severity(_WARNINGS)
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise explained(ort, provider, "")
    return session


def preload(ort: Any, provider: str) -> None:
    """Load CUDA, cuDNN and TensorRT from NVIDIA's Python packages, where they came that way.

    What is not found there is looked for in the system when the session opens; the remarks that
    ONNX Runtime prints about it are not for a user.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(OSError, RuntimeError):
        getattr(ort, "preload_dlls", lambda: None)()  # since ONNX Runtime 1.21
    if provider == "tensorrt":
        with contextlib.suppress(Exception):  # what is broken in it, the provider will miss
            importlib.import_module("tensorrt")


def session_options(options: SessionOptions) -> Any:
    """Return ONNX Runtime's own settings for ours."""
    settings = require("onnxruntime").SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    settings.intra_op_num_threads = options.cpu_threads
    entries = {
        "session.intra_op.allow_spinning": options.spinning != "never",
        "session.force_spinning_stop": options.spinning == "inference",
    }
    for name, value in entries.items():
        settings.add_session_config_entry(name, "1" if value else "0")
    return settings


def _below(provider: str) -> tuple[str, ...]:
    """The provider that takes what TensorRT does not."""
    return (PROVIDERS["cuda"],) if provider == "tensorrt" else ()


def _settings(provider: str, options: SessionOptions) -> dict[str, str]:
    if provider != "cuda":
        return {}
    return {
        "use_tf32": "1" if options.precision == "tf32" else "0",
        "enable_cuda_graph": "1" if options.cuda_graph else "0",
    }


def _ports(nodes: Any) -> list[Port]:
    return [
        Port(
            node.name,
            _DTYPES.get(node.type, node.type),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    ]
