"""Stand-ins for TensorRT and CUDA: their calls, with the computer's memory in the GPU's place.

The pretended engine computes the tiny model of `support.runtime` from the addresses it was given,
so a copy that is missing, too short or to the wrong place shows in the numbers.
"""

from __future__ import annotations

import ctypes
import enum
import types
from typing import Any

import numpy as np
import pytest

from support.runtime import DIM, SIZE, reference_embeddings, weights

VERSION = "10.3.0"


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorNoDevice = 100
    cudaErrorMemoryAllocation = 2


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Cuda(types.ModuleType):
    """`cuda.bindings.runtime` on a device of which every property can be set."""

    cudaMemcpyKind = Kind

    def __init__(self, name: str = "Orin", capability: tuple[int, int] = (8, 7)) -> None:
        super().__init__("cuda.bindings.runtime")
        self.properties = types.SimpleNamespace(
            name=name.encode(), major=capability[0], minor=capability[1]
        )
        self.devices = 1
        self.version = 12060
        self.memory: dict[int, Any] = {}
        self.streams = 0
        self.room = 1 << 30

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, self.version

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (Status.cudaSuccess if self.devices else Status.cudaErrorNoDevice), self.devices

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        assert index == 0
        return Status.cudaSuccess, self.properties

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if size > self.room:
            return Status.cudaErrorMemoryAllocation, None
        block = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(block)] = block
        return Status.cudaSuccess, ctypes.addressof(block)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return (Status.cudaSuccess,)

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        self.streams += 1
        return Status.cudaSuccess, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        self.streams -= 1
        return (Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: Kind, stream: int
    ) -> tuple[Any, ...]:
        on_device = target if kind is Kind.cudaMemcpyHostToDevice else source
        assert size <= len(self.memory[on_device]), "a copy past the end of a buffer"
        assert stream == 7
        ctypes.memmove(target, source, size)
        return (Status.cudaSuccess,)


class Context:
    """An execution context of the pretended engine."""

    def __init__(self, trt: TensorRt) -> None:
        self.trt = trt
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "images"
        self.shape = shape
        return self.trt.smallest <= shape[0] <= self.trt.largest

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in ("images", "embeddings")

    def execute_async_v3(self, stream: int) -> bool:
        count = self.shape[0]
        pixels = ctypes.string_at(self.addresses["images"], count * SIZE * SIZE * 3)
        images = np.frombuffer(pixels, np.uint8).reshape(count, SIZE, SIZE, 3)
        answer = reference_embeddings(images, weights()) * 1.0
        answer[:, : self.trt.spoilt] *= -1
        answer = answer.astype(np.float32)
        ctypes.memmove(self.addresses["embeddings"], answer.ctypes.data, count * DIM * 4)
        self.trt.runs.append(count)
        return self.trt.runs_well


class RuntimeCache:
    """The kernels that TensorRT-RTX compiles at an engine's first run."""

    content = b"nothing"

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content if self.content != b"nothing" else b"kernels"


class RuntimeConfig:
    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> None:
        self.cache = cache


class Engine:
    def __init__(self, trt: TensorRt) -> None:
        self.trt = trt

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: RuntimeConfig | None = None) -> Context:
        if config is not None:
            self.trt.kernels.append(config.cache.content)
        return Context(self.trt)


class TensorRt(types.ModuleType):
    """The running part of `tensorrt` or `tensorrt_rtx`.

    Attributes:
        spoilt: How many values of each embedding its engines get wrong.
        deserialised: The engines that reached it.
        kernels: What the runtime caches held when contexts were made.
    """

    def __init__(self, version: str = VERSION) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.spoilt = 0
        self.runs_well = True
        self.smallest, self.largest = 1, 8
        self.runs: list[int] = []
        self.kernels: list[bytes] = []
        self.deserialised: list[bytes] = []
        self.accepts = True
        trt = self

        class Logger:
            ERROR = 1

            def __init__(self, severity: int) -> None:
                pass

        class Runtime:
            engine_host_code_allowed = False

            def __init__(self, logger: Logger) -> None:
                trt.runtime = self

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                trt.deserialised.append(data)
                return Engine(trt) if trt.accepts else None

        self.Logger, self.Runtime = Logger, Runtime
        self.runtime: Any = None


class Device:
    """A pretended device: its CUDA, its TensorRT, and what `build` makes of a bundle there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda = Cuda()
        self.trt = TensorRt()
        self.rtx: TensorRt | None = None
        self.driver: str | None = "540.4.0"
        self.builds = 0
        monkeypatch.setattr(
            "vision_edge.runtime.inference.tensorrt.gpu.driver_version", lambda: self.driver
        )
        monkeypatch.setattr("importlib.import_module", self._imported(__import__("importlib")))
        monkeypatch.setattr("vision_edge.runtime.inference.tensorrt.compiling.build", self.build)
        monkeypatch.setattr(
            "vision_edge.runtime.inference.tensorrt.compiling.impossible", lambda *_: {}
        )

    def _imported(self, importlib: Any) -> Any:
        real = importlib.import_module

        def import_module(name: str, package: str | None = None) -> Any:
            if name == "cuda.bindings.runtime":
                return self.cuda
            if name == "tensorrt":
                return self.trt
            if name == "tensorrt_rtx":
                if self.rtx is None:
                    raise ImportError("No module named 'tensorrt_rtx'")
                return self.rtx
            return real(name, package)

        return import_module

    def build(self, bundle: Any, settings: Any, timing: bytes | None) -> tuple[bytes, bytes | None]:
        self.builds += 1
        self.timing = timing
        data = b"engine %d of " % self.builds + bundle.model[:8]
        return data, b"timings" if settings.flavour == "tensorrt" else None
