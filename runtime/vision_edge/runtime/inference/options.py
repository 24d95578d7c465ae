"""How a session is opened: the settings, and where each of them has an effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.runner import Precision, Spinning
from vision_edge.runtime.system.cpus import usable_cpus

SPINNING: tuple[Spinning, ...] = get_args(Spinning)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class SessionOptions:
    """Settings of a session; what a provider does not know it ignores.

    Attributes:
        threads: Threads of one inference on the CPU; by default, the cores this process may use.
        spinning: When threads of ONNX Runtime on the CPU wait busily for work: `"never"`, which
            takes the least processor time; `"inference"`, from layer to layer but not from one
            image to the next, which is quickest; or `"always"`, ONNX Runtime's own default, which
            takes twice the processor time for nothing (`benchmarks/threads.py`).
        precision: Arithmetic that OpenVINO may use for the float32 parts of a graph. `"f32"`
            keeps what the bundle's parity gate measured; `"bf16"` is quicker on processors with
            bf16 units and moves every embedding a little; `"auto"` takes it where it is quicker
            on this very device and its embeddings pass the limits of float16, which is tried for
            a second or two at opening.
        io_binding: Keep input and output of `cuda` in fixed GPU buffers.
        cuda_graph: Replay each batch size of `cuda` as a captured CUDA graph; implies
            `io_binding`.
        warm_up: Run one image when opening, so that the first frame is no slower than others and
            a provider that cannot run at all is found at once.
    """

    threads: int | None = None
    spinning: Spinning = "inference"
    precision: Precision = "f32"
    io_binding: bool = False
    cuda_graph: bool = False
    warm_up: bool = True

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise VisionEdgeError(f"threads must be at least 1, got {self.threads}")
        if self.spinning not in SPINNING:
            raise VisionEdgeError(
                f"unknown spinning {self.spinning!r}", fix=f"use one of {', '.join(SPINNING)}"
            )
        if self.precision not in PRECISIONS:
            raise VisionEdgeError(
                f"unknown precision hint {self.precision!r}",
                fix=f"use one of {', '.join(PRECISIONS)}",
            )

    @property
    def cpu_threads(self) -> int:
        """Threads to use on the CPU, at least 1."""
        return self.threads or usable_cpus()
