"""Sessions: a loaded bundle on one ONNX Runtime execution provider."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from vision_edge.runtime.bundle import Bundle, Embeddings
from vision_edge.runtime.errors import BundleError, VisionEdgeError, require
from vision_edge.runtime.preprocess import Image, PreprocessSpec, prepare

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Provider names on the command line, in the order in which `auto` prefers them."""


class Embedder(Protocol):
    """Anything that turns prepared images into embeddings.

    A `Session` is one; so is the toolkit's PyTorch backbone, which lets both be evaluated by the
    same code.
    """

    @property
    def name(self) -> str:
        """What to call it in a table."""

    @property
    def spec(self) -> PreprocessSpec:
        """How its images are prepared."""

    def embed(self, images: Image) -> Embeddings:
        """Embed uint8 (N, size, size, 3) BGR images as float32 (N, D)."""


@dataclass
class Session:
    """A bundle that is ready to run.

    Attributes:
        bundle: The verified bundle.
        provider: The provider in use: `"tensorrt"`, `"cuda"` or `"cpu"`.
        notes: What a user should know, such as a provider that was asked for and failed.
    """

    bundle: Bundle
    provider: str
    _session: Any
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The bundle's name and the provider."""
        return f"{self.bundle.manifest.name} ({self.provider})"

    @property
    def spec(self) -> PreprocessSpec:
        """How images are prepared for it."""
        return self.bundle.manifest.preprocessing

    def embed(self, images: Image) -> Embeddings:
        """Embed prepared images.

        Args:
            images: uint8 (N, size, size, 3), BGR, as `prepare` returns them; N at least 1.

        Returns:
            float32 (N, D).

        Raises:
            VisionEdgeError: If shape or dtype are wrong, or the result is not finite.
        """
        size = self.spec.size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise VisionEdgeError(
                f"a session embeds uint8 (N, {size}, {size}, 3); got {images.dtype} {images.shape}",
                fix="call embed_frame, or prepare each image first",
            )
        (embeddings,) = self._session.run(None, {"images": images})
        if not np.isfinite(embeddings).all():
            raise VisionEdgeError(
                f"{self.name}: the model returned values that are not finite",
                fix="run on another provider (--provider cpu), and export in fp32",
            )
        result: Embeddings = embeddings
        return result


def embed_frame(embedder: Embedder, image: Image) -> Embeddings:
    """Prepare and embed one image of any size.

    Args:
        embedder: A session, or anything like it.
        image: uint8 (H, W, 3), BGR.

    Returns:
        float32 (D,).
    """
    vector: Embeddings = embedder.embed(prepare(image, embedder.spec)[None])[0]
    return vector


def available_providers() -> list[str]:
    """Return the providers that this machine's ONNX Runtime was built with, best first."""
    built = require("onnxruntime").get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in built]


def open_session(bundle: Bundle, provider: str = "auto", threads: int | None = None) -> Session:
    """Load a bundle's model.

    Args:
        bundle: A verified bundle.
        provider: `"auto"` takes the best that loads, and notes those that did not; a name takes
            that one or fails.
        threads: Threads for one inference on the CPU; by default, the cores this process may use.

    Returns:
        A session on one provider.

    Raises:
        BundleError: If ONNX Runtime cannot load the model, or its inputs and outputs are not a
            bundle's.
        VisionEdgeError: If the named provider is unknown or not there.
    """
    notes: list[str] = []
    for candidate in _candidates(provider):
        try:
            session = _create(bundle, candidate, threads)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if provider != "auto" or candidate == "cpu":
                raise BundleError(
                    f"{bundle.path}: the model cannot be loaded on {candidate} ({reason})",
                    fix="try --provider cpu, or export the bundle again",
                ) from error
            notes.append(f"{candidate} is there but cannot be used ({reason}); falling back")
            continue
        _check_signature(session, bundle)
        return Session(bundle, candidate, session, notes)
    raise VisionEdgeError("ONNX Runtime has no provider", fix="reinstall onnxruntime")


def _candidates(provider: str) -> Sequence[str]:
    available = available_providers()
    if provider == "auto":
        return available
    if provider not in PROVIDERS:
        raise VisionEdgeError(
            f"unknown provider {provider!r}", fix=f"use one of auto, {', '.join(PROVIDERS)}"
        )
    if provider not in available:
        raise VisionEdgeError(
            f"provider {provider!r} is not in this machine's ONNX Runtime "
            f"(it has: {', '.join(available)})",
            fix="install the build that has it (on a Jetson the vendor's wheel), or use auto",
        )
    return [provider]


def _create(bundle: Bundle, provider: str, threads: int | None) -> Any:
    """Create the ONNX Runtime session; raise if the provider silently fell back."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    providers = [PROVIDERS[provider]]
    if provider == "tensorrt":
        providers.append(PROVIDERS["cuda"])
    session = ort.InferenceSession(bundle.model, options, providers=providers)
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise RuntimeError(f"ONNX Runtime fell back to {session.get_providers()[0]}")
    return session


def _check_signature(session: Any, bundle: Bundle) -> None:
    """Check that the graph takes uint8 (N, S, S, 3) and returns float32 (N, D), N symbolic."""
    size, dim = bundle.manifest.preprocessing.size, bundle.manifest.embedding_dim
    got = [
        (node.name, node.type, node.shape)
        for node in (*session.get_inputs(), *session.get_outputs())
    ]
    expected = [
        ("images", "tensor(uint8)", [size, size, 3]),
        ("embeddings", "tensor(float)", [dim]),
    ]
    fixed = [(name, kind, shape[1:]) for name, kind, shape in got]
    if fixed != expected or any(isinstance(shape[0], int) for _, _, shape in got):
        raise BundleError(
            f"{bundle.path}: the model has {got}; a bundle's has images uint8 (N, {size}, {size}, "
            f"3) and embeddings float32 (N, {dim})",
            fix="export it with vision-edge",
        )
