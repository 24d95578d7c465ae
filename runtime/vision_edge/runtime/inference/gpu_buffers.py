"""ONNX Runtime with input and output in fixed GPU buffers, and CUDA graphs on top of them.

A CUDA graph replays the addresses it was captured with. An image must therefore be copied *into*
the buffer of the capture: given at another address, it would be ignored, and every image would get
the first one's answer (onnxruntime#20050).
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import require

MAX_SIZES = 8
"""Batch sizes that keep their buffers, and their graphs: each of them holds GPU memory."""
_NO_GRAPH = "-1"


class _Slot(NamedTuple):
    """Buffers of one batch size, their binding, and how to run it."""

    images: Any
    embeddings: Any
    binding: Any
    run_options: Any


class BoundRunner:
    """A session that reads and writes one pair of buffers a batch size; calls take turns.

    Args:
        session: An ONNX Runtime session, created with `enable_cuda_graph` if `graphs`.
        dim: D, the length of an embedding.
        device: Where the buffers are: `"cuda"`, or `"cpu"` to try the same path without a GPU.
        graphs: Capture a graph for each of the first `MAX_SIZES` batch sizes.
    """

    def __init__(self, session: Any, dim: int, *, device: str, graphs: bool) -> None:
        self._session = session
        self._dim = dim
        self._device = device
        self._graphs = graphs
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR as new float32 (N, D)."""
        with self._lock:
            slot = self._slots.get(len(images)) or self._new_slot(images)
            slot.images.update_inplace(np.ascontiguousarray(images))
            self._session.run_with_iobinding(slot.binding, slot.run_options)
            slot.binding.synchronize_outputs()
            # On the CPU `numpy` is a view of the buffer, which the next image overwrites.
            return np.array(slot.embeddings.numpy(), dtype=np.float32)

    def _new_slot(self, images: Image) -> _Slot:
        """Make buffers for a batch size; keep them if there is room for one more."""
        ort = require("onnxruntime")
        count = len(images)
        keep = len(self._slots) < MAX_SIZES
        # Made from the array itself, a buffer on the CPU would be the caller's own image.
        make = ort.OrtValue.ortvalue_from_shape_and_type
        source = make(images.shape, np.uint8, self._device, 0)
        target = make([count, self._dim], np.float32, self._device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("images", source)
        binding.bind_ortvalue_output("embeddings", target)
        slot = _Slot(source, target, binding, self._run_options(count if keep else None))
        if keep:
            self._slots[count] = slot
        return slot

    def _run_options(self, graph: int | None) -> Any:
        """Name the graph of a batch size: one session holds several, and must not mix them."""
        if not self._graphs:
            return None
        options = require("onnxruntime").RunOptions()
        options.add_run_config_entry("gpu_graph_id", _NO_GRAPH if graph is None else str(graph))
        return options
