"""A bundle as a model repository of NVIDIA's Triton Inference Server.

`OUT/NAME/config.pbtxt` and `OUT/NAME/1/model.onnx`, for the `onnxruntime` backend. The bundle's
fingerprint is among the model's parameters, so that `--provider triton://...` can refuse another
model: a gallery's embeddings mean nothing to any but its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.bundles.manifest import MODEL_FILE
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.inference.triton import FINGERPRINT_KEY, MANIFEST_KEY, manifest_sha256
from vision_edge.runtime.system.files import atomic_folder

CONFIG_FILE = "config.pbtxt"
Instance = Literal["auto", "cpu", "gpu"]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class TritonSettings:
    """How Triton is to serve the model.

    Attributes:
        name: The model's name there; by default, the bundle's name made fit.
        version: The version's folder.
        max_batch: Most images that the server puts into one batch.
        preferred: Batch sizes for which it does not wait any longer; by default, `max_batch`.
        max_queue_delay_us: Microseconds that an image may wait for others to join its batch.
        instances: Copies of the model on each device.
        kind: Where they are: where the server finds best, on CPUs or on GPUs.
        threads: CPU threads of each instance; by default, all cores.
        warm_up: Whether the server runs the model before it says that it is ready.
    """

    name: str | None = None
    version: int = 1
    max_batch: int = 32
    preferred: tuple[int, ...] = ()
    max_queue_delay_us: int = 2000
    instances: int = 1
    kind: Instance = "auto"
    threads: int | None = None
    warm_up: bool = True

    def __post_init__(self) -> None:
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ExportError(
                f"{self.name!r} cannot be a model's name in Triton",
                fix="use letters, digits, '_', '-' and '.', beginning with none of the last two",
            )
        if self.kind not in ("auto", "cpu", "gpu"):
            raise ExportError(f"unknown kind {self.kind!r}", fix="use one of auto, cpu, gpu")
        for what, value, least in (
            ("version", self.version, 1),
            ("max_batch", self.max_batch, 1),
            ("max_queue_delay_us", self.max_queue_delay_us, 0),
            ("instances", self.instances, 1),
            ("threads", 1 if self.threads is None else self.threads, 1),
        ):
            if value < least:
                raise ExportError(f"{what} must be at least {least}; got {value}")
        if not all(1 <= size <= self.max_batch for size in self.preferred):
            raise ExportError(
                f"preferred batch sizes {list(self.preferred)} must lie from 1 to the largest "
                f"batch, {self.max_batch}",
                fix="raise max_batch, or leave the larger ones out",
            )

    @property
    def preferred_sizes(self) -> list[int]:
        """The preferred batch sizes, ascending."""
        return sorted(set(self.preferred)) or [self.max_batch]


def write_triton_repository(
    bundle: Bundle, out: Path, settings: TritonSettings | None = None
) -> Path:
    """Write a bundle into a model repository.

    Args:
        bundle: A verified bundle; the model's bytes are taken as they are.
        out: The repository's folder; other models in it stay as they are.
        settings: How the model is to be served.

    Returns:
        The model's folder, complete.

    Raises:
        ExportError: If there is something at its place that no export wrote: it is not
            overwritten.
    """
    chosen = settings or TritonSettings()
    if bundle.manifest.patches is not None:
        raise ExportError(
            f"{bundle.path}: gives patches as a second output, which Triton is not asked for",
            fix="export a bundle without --patches for it",
        )
    name = chosen.name or model_name(bundle.manifest.name)
    target = out / name
    _refuse_overwrite(target)
    config = triton_config(bundle, name, chosen)
    with atomic_folder(target) as folder:
        version = folder / str(chosen.version)
        version.mkdir()
        (version / MODEL_FILE).write_bytes(bundle.model)
        (folder / CONFIG_FILE).write_text(config, encoding="ascii")
    return target


def model_name(text: str) -> str:
    """Return a name fit for Triton: other characters become `_`; never empty."""
    fit = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_").lstrip(".-")
    return fit or "model"


def _refuse_overwrite(target: Path) -> None:
    if not target.exists():
        return
    try:
        ours = FINGERPRINT_KEY in (target / CONFIG_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        ours = False
    if not ours:
        raise ExportError(
            f"{target} exists and was not exported by vision-edge, so it is not overwritten",
            fix="give another folder, or another name",
        )


def triton_config(bundle: Bundle, name: str, settings: TritonSettings) -> str:
    """Return the model's configuration: Triton's `ModelConfig` as protobuf text.

    Shapes are without the batch, which Triton adds in front because `max_batch_size` is set.
    """
    size, dim = bundle.manifest.preprocessing.size, bundle.manifest.embedding_dim
    parameters = {
        FINGERPRINT_KEY: bundle.manifest.fingerprint,
        MANIFEST_KEY: manifest_sha256(bundle),
    }
    if settings.threads is not None:
        parameters["intra_op_thread_count"] = str(settings.threads)
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f'default_model_filename: "{MODEL_FILE}"',
        f"max_batch_size: {settings.max_batch}",
        f'input {{ name: "images" data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] }}',
        f'output {{ name: "embeddings" data_type: TYPE_FP32 dims: [ {dim} ] }}',
        f"version_policy {{ specific {{ versions: [ {settings.version} ] }} }}",
        "dynamic_batching {",
        f"  preferred_batch_size: [ {_list(settings.preferred_sizes)} ]",
        f"  max_queue_delay_microseconds: {settings.max_queue_delay_us}",
        "}",
        f"instance_group {{ count: {settings.instances} kind: KIND_{settings.kind.upper()} }}",
        *(_warm_up(size, settings) if settings.warm_up else ()),
        *(_parameter(key, value) for key, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"


def _warm_up(size: int, settings: TritonSettings) -> Iterable[str]:
    """Yield a run of one image, and one of each preferred size."""
    for batch in sorted({1, *settings.preferred_sizes}):
        yield f'model_warmup {{ name: "batch of {batch}" batch_size: {batch}'
        yield '  inputs { key: "images" value {'
        yield f"    data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] zero_data: true"
        yield "  } }"
        yield "}"


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def _list(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
