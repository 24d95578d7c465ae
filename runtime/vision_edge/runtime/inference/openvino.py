"""A bundle's model in OpenVINO, on the CPU: the quicker runtime on many an industrial PC."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import require
from vision_edge.runtime.inference.arithmetic import try_narrower
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.runner import Port, check_ports


class OpenVinoRunner:
    """One compiled model with one request; calls of several threads take turns."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR as new float32 (N, D)."""
        with self._lock:
            results = self._request.infer({0: np.ascontiguousarray(images)}, share_inputs=True)
            return np.array(results[0], dtype=np.float32)

    def run_both(self, images: Image) -> tuple[Embeddings, Patches]:
        """Return new float32 (N, D) and, of a model that has them, patches (N, T, D)."""
        with self._lock:
            results = self._request.infer({0: np.ascontiguousarray(images)}, share_inputs=True)
            return np.array(results[0], np.float32), np.array(results[1], np.float32)


def open_openvino(
    bundle: Bundle, options: SessionOptions, notes: list[str] | None = None
) -> OpenVinoRunner:
    """Compile a bundle's model for the CPU.

    Left alone, OpenVINO computes float32 graphs in bf16 where the processor can, so the precision
    is always said: f32 unless the options ask for less.

    Args:
        bundle: A verified bundle.
        options: Threads and precision; without `threads` OpenVINO chooses for low latency, within
            the cores this process may use.
        notes: Gets a line if the processor cannot compute in the precision that was asked for.

    Raises:
        BundleError: If the model is not a bundle's.
        MissingExtraError: If OpenVINO is not installed.
    """
    core = require("openvino").Core()
    model = core.read_model(bundle.model, b"")
    check_ports(bundle, _ports(model.inputs), _ports(model.outputs))
    if options.precision == "auto":
        return _quickest(bundle, core, model, options, [] if notes is None else notes)
    precision = "f32" if options.precision == "tf32" else options.precision  # tf32 is a GPU's
    compiled = _compiled(core, model, options, precision)
    used = _precision(compiled)
    if used != precision and notes is not None:
        notes.append(f"openvino computes in {used} here; {precision} was asked for")
    return OpenVinoRunner(compiled)


def _quickest(
    bundle: Bundle, core: Any, model: Any, options: SessionOptions, notes: list[str]
) -> OpenVinoRunner:
    """Compute in bf16 where that is quicker on this device and agrees; in float32 elsewhere."""
    plain = OpenVinoRunner(_compiled(core, model, options, "f32"))
    compiled = _compiled(core, model, options, "bf16")
    if _precision(compiled) != "bf16":
        notes.append("precision hint auto: f32, this processor has no bf16")
        return plain
    narrow = OpenVinoRunner(compiled)
    trial = try_narrower(bundle, plain, narrow)
    notes.append(f"precision hint auto: {'bf16' if trial.wins else 'f32'} (bf16 {trial.why})")
    return narrow if trial.wins else plain


def _compiled(core: Any, model: Any, options: SessionOptions, precision: str) -> Any:
    return core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": options.cpu_threads,
        },
    )


def _precision(compiled: Any) -> str:
    """Return the arithmetic that OpenVINO chose, by its short name."""
    used = compiled.get_property("INFERENCE_PRECISION_HINT")
    return str(used.to_string() if hasattr(used, "to_string") else used)


def _ports(nodes: Any) -> list[Port]:
    names = {"u8": "uint8", "f32": "float32"}
    return [
        Port(
            node.get_any_name(),
            names.get(node.get_element_type().to_string(), node.get_element_type().to_string()),
            tuple(None if d.is_dynamic else d.get_length() for d in node.get_partial_shape()),
        )
        for node in nodes
    ]
