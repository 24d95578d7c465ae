"""What every provider has in common: a runner, and the ports that a bundle's model must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import BundleError

Precision = Literal["f32", "tf32", "bf16", "f16", "auto"]
"""Arithmetic for the float32 parts of a graph; `"auto"` tries what is quicker and agrees."""

Spinning = Literal["inference", "always", "never"]
"""When threads wait busily."""


class Runner(Protocol):
    """A bundle's model on one provider."""

    def run(self, images: Image) -> Embeddings:
        """Embed uint8 (N, S, S, 3) BGR, N at least 1, as new float32 (N, D); thread-safe."""


@runtime_checkable
class PatchRunner(Runner, Protocol):
    """A runner that also gives the second output of a bundle that has it."""

    def run_both(self, images: Image) -> tuple[Embeddings, Patches]:
        """Return new float32 (N, D) and (N, T, D); thread-safe."""


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: Its name in the graph.
        dtype: `"uint8"`, `"float32"`, or whatever the provider calls another type.
        shape: Its dimensions; None where one is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def check_ports(bundle: Bundle, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Check that a model takes images and returns embeddings as a bundle's must.

    Raises:
        BundleError: If names, types or shapes differ, or the batch is fixed.
    """
    size, dim = bundle.manifest.preprocessing.size, bundle.manifest.embedding_dim
    patches = bundle.manifest.patches
    second = [] if patches is None else [Port("patches", "float32", (None, patches.count, dim))]
    expected = (
        [Port("images", "uint8", (None, size, size, 3))],
        [Port("embeddings", "float32", (None, dim)), *second],
    )
    if (list(inputs), list(outputs)) != expected:
        raise wrong_ports(bundle.path, [*inputs, *outputs], size, dim)


def wrong_ports(path: Path, got: Sequence[Port], size: int, dim: int) -> BundleError:
    """Return the error about a model that is not a bundle's."""
    found = ", ".join(f"{port.name} {port.dtype} {port.shape}" for port in got)
    return BundleError(
        f"{path}: the model has {found}; a bundle's has images uint8 (N, {size}, {size}, 3) and "
        f"embeddings float32 (N, {dim})",
        fix="export it with vision-edge",
    )
