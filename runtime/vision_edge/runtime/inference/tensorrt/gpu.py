"""Which GPU this is: what an engine is bound to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import EngineError, require

_DRIVER = Path("/proc/driver/nvidia/version")
_TEGRA = Path("/etc/nv_tegra_release")
_FIX = "install or update NVIDIA's driver (`nvidia-smi` must show the GPU), or use --provider cpu"


@dataclass(frozen=True)
class Gpu:
    """The first GPU and the software under it.

    Attributes:
        name: Such as `"Orin"`.
        compute_capability: Such as `"8.7"`.
        driver: The driver's version; on a Jetson, that of its Linux.
        cuda: The newest CUDA that the driver knows, such as `"12.6"`.
    """

    name: str
    compute_capability: str
    driver: str
    cuda: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability}, driver {self.driver})"


def find_gpu() -> Gpu:
    """Return the first GPU.

    Raises:
        EngineError: If there is none that CUDA can use.
        MissingExtraError: If CUDA's Python package is not installed.
    """
    cuda = require("cuda.bindings.runtime")
    try:
        version = int(checked(cuda.cudaDriverGetVersion())[0])
        count = int(checked(cuda.cudaGetDeviceCount())[0])
        properties = checked(cuda.cudaGetDeviceProperties(0))[0] if count else None
    except EngineError as error:
        raise EngineError(
            f"there is no NVIDIA GPU that CUDA can use ({error.what})", fix=_FIX
        ) from error
    if properties is None:
        raise EngineError("there is no NVIDIA GPU here", fix=_FIX)
    known = f"{version // 1000}.{version % 1000 // 10}"
    name = properties.name.decode() if isinstance(properties.name, bytes) else properties.name
    capability = f"{properties.major}.{properties.minor}"
    return Gpu(name.rstrip("\0"), capability, driver_version() or f"for CUDA {known}", known)


def driver_version(driver: Path = _DRIVER, tegra: Path = _TEGRA) -> str | None:
    """Return the version of the NVIDIA driver, or of a Jetson's Linux; None if unknown."""
    for path, pattern in (
        (driver, r"Kernel Module[^\n]*?\s(\d+\.\d+(?:\.\d+)?)\s"),
        (tegra, r"(R\d+) \(release\), REVISION: ([\d.]+)"),
    ):
        try:
            found = re.search(pattern, path.read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return ".".join(found.groups())
    return None


def checked(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a CUDA call gave, without its status.

    Raises:
        EngineError: If the status is not success.
    """
    status, *values = answer
    if int(status) != 0:
        raise EngineError(f"CUDA: {getattr(status, 'name', status)}")
    return tuple(values)
