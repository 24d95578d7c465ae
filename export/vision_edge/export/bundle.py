"""Export: from a merged PyTorch model to a verified bundle, or to nothing at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vision_edge.export.compact import with_half_weights
from vision_edge.export.embedder import TorchEmbedder
from vision_edge.export.graph import EdgeModel
from vision_edge.export.onnx_graph import to_onnx
from vision_edge.export.parity import MIN_COSINE_FP32, gate
from vision_edge.export.samples import SOURCE, generated_scenes
from vision_edge.runtime.bundle import Bundle, Embeddings, check_target, load_bundle, write_bundle
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.manifest import (
    COHORT_FILE,
    MODEL_FILE,
    AdapterInfo,
    BackboneInfo,
    FileInfo,
    Manifest,
    ParityInfo,
    ScoringInfo,
)
from vision_edge.runtime.preprocess import Image, PreprocessSpec, prepare
from vision_edge.runtime.session import open_session

GENERATED_IMAGES = 96
_TOOLS = ("vision-edge", "torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class ExportImages:
    """Images for the parity gate and the cohort.

    Attributes:
        images: Each uint8 (H, W, 3), BGR, of any size.
        source: What they are, for the manifest.
        from_station: Whether they are from the station's own camera or its like.
    """

    images: Sequence[Image]
    source: str
    from_station: bool = True


def export_bundle(
    model: nn.Module,
    spec: PreprocessSpec,
    out: Path,
    *,
    name: str,
    backbone: BackboneInfo,
    adapter: AdapterInfo | None = None,
    images: ExportImages | None = None,
    evaluation: dict[str, Any] | None = None,
    min_cosine: float = MIN_COSINE_FP32,
    half_weights: bool = False,
) -> Bundle:
    """Export a model as a bundle.

    Args:
        model: A timm vision transformer on the CPU in float32, with its adapter merged.
        spec: Its preprocessing.
        out: The bundle's folder; an older bundle there is replaced once the new one has passed.
        name: The bundle's name, for people.
        backbone: Where the model comes from.
        adapter: What was merged into it.
        images: For the parity gate and as the cohort; generated scenes by default.
        evaluation: Figures to carry in the manifest.
        min_cosine: Least agreement with PyTorch, per image.
        half_weights: Store weights in float16 and compute in float32: half the size.

    Returns:
        The bundle as read back and verified from the disk.

    Raises:
        ExportError: If the export fails or the gate refuses it; nothing is written then.
    """
    check_target(out)  # now, rather than after minutes of exporting
    chosen = images or ExportImages(
        generated_scenes(GENERATED_IMAGES, spec.size), SOURCE, from_station=False
    )
    if len(chosen.images) < 2:
        raise ExportError(
            f"the parity gate needs at least 2 images; {chosen.source} has {len(chosen.images)}",
            fix="give more with --images, or leave the option out",
        )
    prepared = np.stack([prepare(image, spec) for image in chosen.images])  # (M, S, S, 3)
    data = to_onnx(EdgeModel(model, spec), spec.size)
    data = with_half_weights(data) if half_weights else data
    reference = TorchEmbedder(model.eval(), spec)
    dim = reference.embed(prepared[:1]).shape[1]
    fields: dict[str, Any] = {
        "name": name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "backbone": backbone,
        "adapter": adapter,
        "preprocessing": spec,
        "embedding_dim": dim,
        "precision": "fp32",
        "evaluation": evaluation,
    }
    candidate = open_session(_unwritten(fields, data), "cpu")
    parity, cohort = gate(reference, candidate, prepared, min_cosine)
    fields["parity"] = ParityInfo(
        images=parity.images,
        image_source=chosen.source,
        min_cosine=parity.min_cosine,
        mean_cosine=parity.mean_cosine,
    )
    fields["scoring"] = _scoring(cohort, chosen)
    write_bundle(out, fields, {MODEL_FILE: data, COHORT_FILE: _npy(cohort)})
    return load_bundle(out)


def _unwritten(fields: dict[str, Any], data: bytes) -> Bundle:
    """Return the bundle that would be, for the gate to try before anything is written."""
    dim = fields["embedding_dim"]
    placeholder = np.zeros((0, dim), np.float32)
    manifest = Manifest(
        **fields,
        parity=ParityInfo(images=0, image_source="", min_cosine=0, mean_cosine=0),
        scoring=ScoringInfo(
            centre=(0.0,) * dim, cohort_source="", cohort_from_station=False, cohort_size=0
        ),
        files={MODEL_FILE: FileInfo(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))},
    )
    return Bundle(Path(fields["name"]), manifest, data, placeholder)


def _scoring(cohort: Embeddings, images: ExportImages) -> ScoringInfo:
    centre = cohort.mean(axis=0, dtype=np.float64)
    return ScoringInfo(
        centre=tuple(float(value) for value in centre.astype(np.float32)),
        cohort_source=images.source,
        cohort_from_station=images.from_station,
        cohort_size=len(cohort),
    )


def _npy(array: Embeddings) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _versions() -> dict[str, str]:
    installed = {dist.name.lower(): dist.version for dist in distributions()}
    return {tool: installed[tool] for tool in _TOOLS if tool in installed}
