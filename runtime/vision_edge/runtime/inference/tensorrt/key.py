"""An engine's key: everything that it depends on, and whether it fits a device."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.bundles.manifest import MODEL_FILE, Sha256
from vision_edge.runtime.inference.tensorrt.gpu import Gpu

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""The Python module of each."""
NAMES: dict[Flavour, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
Capability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
_Batch = Annotated[int, Field(ge=1, le=1024)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchProfile(_Frozen):
    """Batch sizes that an engine takes, and the one it is tuned for."""

    minimum: _Batch = 1
    optimum: _Batch = 1
    maximum: _Batch = 8

    @model_validator(mode="after")
    def _ordered(self) -> BatchProfile:
        if not self.minimum <= self.optimum <= self.maximum:
            raise ValueError(
                f"batch sizes must not fall from minimum over optimum to maximum, got "
                f"{self.minimum}, {self.optimum}, {self.maximum}"
            )
        return self


class BuildSettings(_Frozen):
    """How an engine is built.

    Attributes:
        flavour: Which compiler.
        batch: Its batch sizes.
        workspace_mb: Memory the builder may use for a layer; None leaves it to the builder.
        tf32: Allow the GPU's shorter float32 products in float32 layers.
        version_compatible: TensorRT only: let newer versions of the same major one run it.
        compute_capabilities: TensorRT-RTX only: the GPUs it is built for.
    """

    flavour: Flavour
    batch: BatchProfile = BatchProfile()
    workspace_mb: Annotated[int, Field(ge=1)] | None = None
    tf32: bool = False
    version_compatible: bool = False
    compute_capabilities: tuple[Capability, ...] = ()


class EngineKey(_Frozen):
    """What an engine was made from, by what and for which device.

    A TensorRT engine holds for one kind of GPU with one driver and CUDA version. A TensorRT-RTX
    engine is compiled to the end on the device, so it names compute capabilities only.

    Attributes:
        onnx_sha256: The model file's hash.
        precision: The bundle's.
        version: The compiler's version.
        settings: How it was built.
        gpu: The GPU's name, for TensorRT.
        driver: Its driver's version, for TensorRT.
        cuda: The driver's CUDA version, for TensorRT.
    """

    onnx_sha256: Sha256
    precision: str
    version: str
    settings: BuildSettings
    gpu: str | None = None
    driver: str | None = None
    cuda: str | None = None

    @property
    def name(self) -> str:
        """A file name for the engine, another for every other key."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{self.settings.flavour}-{digest[:20]}"

    def mismatch(self, bundle: Bundle, version: str, gpu: Gpu) -> str | None:
        """Say why an engine of this key must not run, or None if it may.

        Args:
            bundle: What shall be run.
            version: Version of the engine's flavour that is installed.
            gpu: The GPU here.
        """
        name = NAMES[self.settings.flavour]
        if self.onnx_sha256 != bundle.manifest.files[MODEL_FILE].sha256:
            return "it was built from another model"
        if not self._runs_in(version):
            return f"it was built with {name} {self.version}, installed is {version}"
        capabilities = self.settings.compute_capabilities
        if gpu.compute_capability not in capabilities:
            here = f"{gpu.name} has {gpu.compute_capability}"
            return f"it was built for compute capability {', '.join(capabilities)}; {here}"
        for what, built, present in (
            ("GPU", self.gpu, gpu.name),
            ("driver", self.driver, gpu.driver),
            ("CUDA", self.cuda, gpu.cuda),
        ):
            if built is not None and built != present:
                return f"it was built for the {what} {built}, here is {present}"
        return None

    def _runs_in(self, version: str) -> bool:
        if version == self.version or not self.settings.version_compatible:
            return version == self.version
        built, present = _numbers(self.version), _numbers(version)
        return built[:1] == present[:1] and built <= present


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def key_for(bundle: Bundle, settings: BuildSettings, version: str, gpu: Gpu | None) -> EngineKey:
    """Return the key of the engine that would be built.

    Args:
        bundle: The bundle.
        settings: How; for TensorRT the compute capability is that of `gpu`.
        version: The compiler's version.
        gpu: The GPU here; only TensorRT needs one.
    """
    model = bundle.manifest.files[MODEL_FILE].sha256
    precision = bundle.manifest.precision
    if settings.flavour == "tensorrt-rtx" or gpu is None:
        return EngineKey(onnx_sha256=model, precision=precision, version=version, settings=settings)
    return EngineKey(
        onnx_sha256=model,
        precision=precision,
        version=version,
        settings=settings.model_copy(update={"compute_capabilities": (gpu.compute_capability,)}),
        gpu=gpu.name,
        driver=gpu.driver,
        cuda=gpu.cuda,
    )
