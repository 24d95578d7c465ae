"""Running an engine on the GPU.

Written against the documents of TensorRT 10 and 11 and of TensorRT-RTX 1. The steps are tested with
stand-ins for TensorRT and CUDA, not on a GPU: that remains to be done on a device.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import EngineError, require
from vision_edge.runtime.inference.tensorrt.builder import compiler
from vision_edge.runtime.inference.tensorrt.gpu import checked
from vision_edge.runtime.inference.tensorrt.key import BatchProfile, Flavour

_TO_DEVICE, _TO_HOST = "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"


class EngineRunner:
    """A deserialised engine with its own stream and buffers for its largest batch.

    Calls of several threads take turns. Larger batches are cut, smaller ones filled up.

    Args:
        bundle: The bundle that the engine was built from.
        flavour: What built it.
        data: The serialised engine, verified by the caller.
        batch: The batch sizes it was built for.
        host_code: Let the engine bring its own runtime, as a version-compatible one does.
        runtime_cache: TensorRT-RTX's kernels, compiled for this device by an earlier session.

    Raises:
        EngineError: If TensorRT refuses the engine, or CUDA fails.
        MissingExtraError: If TensorRT or CUDA's Python package is not installed.
    """

    def __init__(
        self,
        bundle: Bundle,
        flavour: Flavour,
        data: bytes,
        batch: BatchProfile,
        *,
        host_code: bool = False,
        runtime_cache: bytes | None = None,
    ) -> None:
        trt = compiler(flavour)
        self._cuda = require("cuda.bindings.runtime")
        self._batch = batch
        self._dim = bundle.manifest.embedding_dim
        self._lock = threading.Lock()
        self._kernels: Any = None
        self._buffers: list[int] = []
        self._stream: Any = None
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        if host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError(
                f"{bundle.path}: TensorRT refuses the engine", fix="run `vision-edge compile` again"
            )
        self._context = self._new_context(flavour, runtime_cache)
        size = bundle.manifest.preprocessing.size
        self._images = self._allocate("images", batch.maximum * size * size * 3)
        self._embeddings = self._allocate("embeddings", batch.maximum * self._dim * 4)
        self._stream = checked(self._cuda.cudaStreamCreate())[0]

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR as new float32 (N, D)."""
        result = np.empty((len(images), self._dim), np.float32)
        with self._lock:
            for start in range(0, len(images), self._batch.maximum):
                chunk = images[start : start + self._batch.maximum]
                result[start : start + len(chunk)] = self._run(chunk)
        return result

    @property
    def runtime_cache(self) -> bytes | None:
        """TensorRT-RTX's kernels as compiled so far; None for TensorRT."""
        return None if self._kernels is None else bytes(self._kernels.serialize())

    def close(self) -> None:
        """Free the GPU's memory; further calls fail."""
        with self._lock:
            while self._buffers:
                self._cuda.cudaFree(self._buffers.pop())
            if self._stream is not None:
                self._cuda.cudaStreamDestroy(self._stream)
                self._stream = None
            self._context = self._engine = None

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            self.close()

    def _run(self, images: Image) -> Embeddings:
        """Copy in, run, copy out, all on one stream, and wait for it."""
        count = max(len(images), self._batch.minimum)
        filled = np.zeros((count, *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        output = np.empty((count, self._dim), np.float32)
        if not self._context.set_input_shape("images", filled.shape):
            raise EngineError(f"the engine takes no batch of {count}")
        self._copy(self._images, filled.ctypes.data, filled.nbytes, _TO_DEVICE)
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError("the engine failed to run", fix="use --provider cuda or cpu")
        self._copy(output.ctypes.data, self._embeddings, output.nbytes, _TO_HOST)
        checked(self._cuda.cudaStreamSynchronize(self._stream))
        return output[: len(images)]

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._cuda.cudaMemcpyKind, kind)
        checked(self._cuda.cudaMemcpyAsync(target, source, size, direction, self._stream))

    def _allocate(self, tensor: str, size: int) -> int:
        address = int(checked(self._cuda.cudaMalloc(size))[0])
        self._buffers.append(address)
        if not self._context.set_tensor_address(tensor, address):
            raise EngineError(f"the engine has no tensor {tensor!r}", fix="compile it again")
        return address

    def _new_context(self, flavour: Flavour, runtime_cache: bytes | None) -> Any:
        """Create the execution context; TensorRT-RTX keeps what it compiles in a cache."""
        if flavour == "tensorrt":
            context = self._engine.create_execution_context()
        else:
            config = self._engine.create_runtime_config()
            self._kernels = config.create_runtime_cache()
            if runtime_cache is not None:
                self._kernels.deserialize(runtime_cache)  # one of another version is ignored
            config.set_runtime_cache(self._kernels)
            context = self._engine.create_execution_context(config)
        if context is None:
            raise EngineError("TensorRT could not create an execution context: no GPU memory left?")
        return context
