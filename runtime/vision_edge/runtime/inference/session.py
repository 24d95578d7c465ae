"""Sessions: a loaded bundle on one provider, and the choice among those a device has."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.inference.onnx_runtime import built_in, open_ort
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.runner import PatchRunner, Runner
from vision_edge.runtime.system.processor import features_here, has_bf16

PROVIDERS = ("engine", "tensorrt", "cuda", "openvino", "cpu")
"""Provider names on the command line, best first; `triton://host:port/model` is one as well."""
TRITON = "triton://"
_MODULES = {"engine": ("tensorrt", "tensorrt_rtx"), "openvino": ("openvino",)}
"""What brings the providers that are not ONNX Runtime's."""


@dataclass
class Session:
    """A bundle that is ready to run.

    Attributes:
        bundle: The verified bundle.
        provider: The provider in use, a name of `PROVIDERS` or an address.
        notes: What a user should know, such as a provider that was asked for and failed.
    """

    bundle: Bundle
    provider: str
    _runner: Runner
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
        return self._finite(self._runner.run(self._checked(images)))

    def embed_patches(self, images: Image) -> tuple[Embeddings, Patches | None]:
        """Embed prepared images as `embed` does, and return their patches.

        Returns:
            float32 (N, D), and float32 (N, T, D) of unit rows; None if the bundle has no patches,
            or the provider does not give them.
        """
        if self.bundle.manifest.patches is None or not isinstance(self._runner, PatchRunner):
            return self.embed(images), None
        embeddings, patches = self._runner.run_both(self._checked(images))
        return self._finite(embeddings), self._finite(patches)

    def _finite(self, values: Embeddings) -> Embeddings:
        if not np.isfinite(values).all():
            raise VisionEdgeError(
                f"{self.name}: the model returned values that are not finite",
                fix="run on another provider (--provider cpu), and export in fp32",
            )
        return values

    def _checked(self, images: Image) -> Image:
        size = self.spec.size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise VisionEdgeError(
                f"a session embeds uint8 (N, {size}, {size}, 3); got {images.dtype} {images.shape}",
                fix="call embed_frame, or prepare each image first",
            )
        return images


def available_providers() -> list[str]:
    """Return the providers whose software this machine has, best first."""
    found = set(built_in())
    for name, modules in _MODULES.items():
        if any(importlib.util.find_spec(module) is not None for module in modules):
            found.add(name)
    return [name for name in PROVIDERS if name in found]


def open_session(
    bundle: Bundle,
    provider: str = "auto",
    threads: int | None = None,
    options: SessionOptions | None = None,
) -> Session:
    """Load a bundle's model.

    Args:
        bundle: A verified bundle.
        provider: `"auto"` takes the best that loads, and notes those that did not; a name takes
            that one or fails; `triton://host:port/model` asks that server.
        threads: Threads for one inference on the CPU; by default, the cores this process may use.
        options: Further settings; `threads` goes before theirs.

    Returns:
        A session on one provider.

    Raises:
        BundleError: If the model cannot be loaded, or its inputs and outputs are not a bundle's.
        VisionEdgeError: If the named provider is unknown or not there.
    """
    chosen = options or SessionOptions()
    chosen = chosen if threads is None else replace(chosen, threads=threads)
    if provider.startswith(TRITON):
        from vision_edge.runtime.inference.triton import open_triton

        remote = open_triton(bundle, provider)
        return Session(bundle, str(remote.address), remote, list(remote.notes))
    notes: list[str] = []
    for candidate in _candidates(bundle, provider, chosen):
        try:
            runner = _opened(bundle, candidate, chosen, notes)
        except BundleError:
            raise
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if isinstance(error, VisionEdgeError):
                reason = error.what
            if provider != "auto" or candidate == "cpu":
                raise BundleError(
                    f"{bundle.path}: the model cannot be loaded on {candidate} ({reason})",
                    fix=getattr(error, "fix", None)
                    or "try --provider cpu, or export the bundle again",
                ) from error
            mend = getattr(error, "fix", None)
            notes.append(
                f"{candidate} is there but cannot be used ({reason}); falling back"
                + (f" (to mend it: {mend})" if mend else "")
            )
            continue
        if bundle.manifest.patches is not None and not isinstance(runner, PatchRunner):
            notes.append(f"{candidate} gives no patches: products are ranked by embeddings alone")
        return Session(bundle, candidate, runner, notes + _unused(candidate, chosen))
    raise VisionEdgeError("ONNX Runtime has no provider", fix="reinstall onnxruntime")


def _unused(provider: str, options: SessionOptions) -> list[str]:
    """Say which settings the provider that was taken does nothing with."""
    hints = {"openvino": ("bf16", "f16"), "cuda": ("tf32",)}.get(provider, ())
    notes = []
    if options.precision not in ("f32", "auto", *hints):
        notes.append(f"the precision hint {options.precision} does nothing on {provider}")
    if options.cuda_graph and provider != "cuda":
        notes.append(f"CUDA graphs do nothing on {provider}")
    return notes


def _candidates(bundle: Bundle, provider: str, options: SessionOptions) -> list[str]:
    available = available_providers()
    if provider == "auto":
        return [name for name in available if _is_for_auto(bundle, name, options)]
    if provider not in PROVIDERS:
        raise VisionEdgeError(
            f"unknown provider {provider!r}", fix=f"use one of auto, {', '.join(PROVIDERS)}"
        )
    if provider not in available:
        raise VisionEdgeError(
            f"provider {provider!r} is not on this machine (it has: {', '.join(available)})",
            fix="install what brings it (on a Jetson the vendor's wheel), or use auto",
        )
    return [provider]


def _is_for_auto(bundle: Bundle, provider: str, options: SessionOptions) -> bool:
    """Whether `auto` may take a provider: not if it would build for minutes, or gain nothing.

    OpenVINO was no quicker than ONNX Runtime in float32 and opens later, so it is asked for; or it
    may compute in bf16, and the processor can.
    """
    if provider == "engine":
        from vision_edge.runtime.inference.tensorrt.opening import has_engines

        return has_engines(bundle)
    if provider == "tensorrt":
        from vision_edge.runtime.inference.tensorrt.onnx_runtime import is_ready

        return is_ready(bundle)
    if provider == "openvino":
        return options.precision == "auto" and has_bf16(features_here())
    return True


def _opened(bundle: Bundle, provider: str, options: SessionOptions, notes: list[str]) -> Runner:
    """Open one provider, and try it on one image."""
    runner = _OPENERS[provider](bundle, options, notes)
    if options.warm_up:
        size = bundle.manifest.preprocessing.size
        runner.run(np.zeros((1, size, size, 3), np.uint8))
    return runner


def _open_engine(bundle: Bundle, options: SessionOptions, notes: list[str]) -> Runner:
    from vision_edge.runtime.inference.tensorrt.opening import open_engine

    return open_engine(bundle, notes)


def _open_tensorrt(bundle: Bundle, options: SessionOptions, notes: list[str]) -> Runner:
    from vision_edge.runtime.inference.tensorrt.onnx_runtime import open_ort_tensorrt

    return open_ort_tensorrt(bundle, options, notes)


def _open_openvino(bundle: Bundle, options: SessionOptions, notes: list[str]) -> Runner:
    from vision_edge.runtime.inference.openvino import open_openvino

    return open_openvino(bundle, options, notes)


_Opener = Callable[[Bundle, SessionOptions, list[str]], Runner]
_OPENERS: dict[str, _Opener] = {
    "engine": _open_engine,
    "tensorrt": _open_tensorrt,
    "cuda": lambda bundle, options, notes: open_ort(bundle, "cuda", options),
    "openvino": _open_openvino,
    "cpu": lambda bundle, options, notes: open_ort(bundle, "cpu", options),
}
