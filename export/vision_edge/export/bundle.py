"""Export: from a merged PyTorch model to a verified bundle, or to nothing at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vision_edge.export.gate.calibration_split import split, without
from vision_edge.export.gate.explain import worst_step
from vision_edge.export.gate.fewshot_trial import in_batches
from vision_edge.export.gate.gate import Contenders, GateImages, judge
from vision_edge.export.gate.patch_agreement import judge_patches, unjudged
from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.patch_tokens import patch_output, reference_patches
from vision_edge.export.model.pruning import pruned
from vision_edge.export.precision.variant import Variant, check_calibration, make_variant
from vision_edge.export.settings import ExportImages, ExportSettings, LabelledImages
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle, check_target, load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import (
    COHORT_FILE,
    MODEL_FILE,
    AdapterInfo,
    BackboneInfo,
    FileInfo,
    Manifest,
    ParityInfo,
    ScoringInfo,
)
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.generated_scenes import SOURCE, generated_scenes
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.recognition.bundle_calibration import (
    centre_factor,
    same_picture,
    tried_centre_factor,
)

GENERATED_IMAGES = 96
MIN_GATE_IMAGES = 2
VIEWED_IMAGES = 96
"""On so many images it is measured how near a frame is to its own snapshot."""
_TOOLS = ("vision-edge", "torch", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class _Pictures:
    """All images of an export, prepared: uint8 (N, S, S, 3), BGR.

    Attributes:
        gate: What the gate looks at.
        cohort: Where the gate's cohort comes from.
        calibration: For int8; none of them is in the gate's.
    """

    gate: GateImages
    cohort: ExportImages
    calibration: Image | None


def export_bundle(
    model: nn.Module,
    spec: PreprocessSpec,
    out: Path,
    *,
    name: str,
    backbone: BackboneInfo,
    adapter: AdapterInfo | None = None,
    images: ExportImages | None = None,
    calibration: ExportImages | None = None,
    labelled: LabelledImages | None = None,
    evaluation: dict[str, Any] | None = None,
    settings: ExportSettings | None = None,
    for_tensorrt: bool = False,
) -> Bundle:
    """Export a model as a bundle.

    Args:
        model: A timm vision transformer on the CPU in float32, with its adapter merged.
        spec: Its preprocessing.
        out: The bundle's folder; an older bundle there is replaced once the new one has passed.
        name: The bundle's name, for people.
        backbone: Where the model comes from.
        adapter: What was merged into it.
        images: For the gate and as the cohort; generated scenes by default.
        calibration: For int8; a quarter of them is held out for the gate.
        labelled: For the gate's few-shot episodes; views of its images by default.
        evaluation: Figures to carry in the manifest.
        settings: Precision, pruning and limits; plain float32 by default.
        for_tensorrt: Whether TensorRT shall run it, which takes one kind of int8 only.

    Returns:
        The bundle as read back and verified from the disk.

    Raises:
        ExportError: If the export fails or the gate refuses it; nothing is written then.
        VisionEdgeError: If the settings do not fit the model.
    """
    settings = settings or ExportSettings()
    check_target(out)  # now, rather than after minutes of exporting
    pictures = _pictures(spec, settings, images, calibration, labelled)
    whole = TorchEmbedder(model.eval(), spec)
    twin = TorchEmbedder(pruned(model, settings.pruning), spec) if settings.pruning.steps else whole
    gate = pictures.gate.images
    patches = patch_output(twin.model, spec, gate) if settings.patches else None
    variant = make_variant(
        twin.model, spec, settings, pictures.calibration, for_tensorrt=for_tensorrt, patches=patches
    )
    fields: dict[str, Any] = {
        "name": name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": dict(_versions()),
        "backbone": backbone,
        "adapter": adapter,
        "preprocessing": spec,
        "embedding_dim": whole.embed(gate[:1]).shape[1],
        "precision": settings.precision,
        "evaluation": evaluation,
        "patches": None if patches is None else unjudged(patches.count),
    }
    candidate = open_session(_unwritten(fields, variant.data), "cpu")
    models = Contenders(
        whole,
        twin,
        candidate,
        variant.worst_layer,
        lambda shown: worst_step(whole.model, spec, settings.pruning, shown),
    )
    parity, cohort = judge(models, pictures.gate, settings)
    if patches is not None:
        reference = reference_patches(twin.model, spec, gate, patches)
        fields["patches"] = judge_patches(candidate, gate, reference, settings)
    fields["parity"] = _with_calibration(parity, variant, settings, pictures, calibration)
    fields["scoring"] = _scoring(cohort, pictures.cohort, models.candidate, labelled)
    write_bundle(out, fields, {MODEL_FILE: variant.data, COHORT_FILE: _npy(cohort)})
    return load_bundle(out)


def _generated(spec: PreprocessSpec) -> ExportImages:
    scenes = generated_scenes(GENERATED_IMAGES, spec.size)
    return ExportImages(scenes, SOURCE, from_station=False, photographs=False)


def _pictures(
    spec: PreprocessSpec,
    settings: ExportSettings,
    images: ExportImages | None,
    calibration: ExportImages | None,
    labelled: LabelledImages | None,
) -> _Pictures:
    """Prepare all images; what calibrates does not judge.

    Raises:
        ExportError: If there are too few.
    """
    check_calibration(settings.precision, None if calibration is None else len(calibration.images))
    cohort = images or _generated(spec)
    prepared = _prepared(cohort.images, spec)
    if settings.precision != "int8" or calibration is None:
        gate, source, calibrating = prepared, cohort.source, None
    else:
        chosen, held_out = split(calibration.images)
        check_calibration("int8", len(chosen))
        own = without(images.images, chosen) if images else []
        gate, calibrating = _prepared([*held_out, *own], spec), _prepared(chosen, spec)
        sources = [f"held-out {calibration.source}", *([images.source] if images and own else [])]
        source = " and ".join(sources)
    if len(gate) < MIN_GATE_IMAGES:
        raise ExportError(
            f"the parity gate needs at least {MIN_GATE_IMAGES} images; {source} has {len(gate)}",
            fix="give more with --images, or leave the option out",
        )
    judged = GateImages(gate, source, prepared, cohort.from_station, labelled)
    return _Pictures(judged, cohort, calibrating)


def _prepared(images: Sequence[Image], spec: PreprocessSpec) -> Image:
    """Return uint8 (N, S, S, 3), also for no images at all."""
    empty = np.empty((0, spec.size, spec.size, 3), np.uint8)
    return np.stack([prepare(image, spec) for image in images]) if len(images) else empty


def _with_calibration(
    parity: ParityInfo,
    variant: Variant,
    settings: ExportSettings,
    pictures: _Pictures,
    calibration: ExportImages | None,
) -> ParityInfo:
    """Add what the precision was made with."""
    changes: dict[str, Any] = {}
    if variant.precise is not None and settings.precision != "fp32":
        changes["float_layers"] = variant.precise.float_layers
        changes["notes"] = variant.precise.notes
    if pictures.calibration is not None and calibration is not None:
        changes["calibration_images"] = len(pictures.calibration)
        changes["calibration_source"] = calibration.source
    return parity.model_copy(update=changes)


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


def _scoring(
    cohort: Embeddings, images: ExportImages, embedder: Embedder, labelled: LabelledImages | None
) -> ScoringInfo:
    """Measure what scoring takes from the bundle."""
    centre = cohort.mean(axis=0, dtype=np.float32)
    factor = centre_factor(cohort)
    if labelled is not None and labelled.serves_trial:
        factor = tried_centre_factor(in_batches(embedder, labelled.images), labelled.labels, centre)
    shown = images.images[:VIEWED_IMAGES]
    snapshots = np.stack([embed_snapshot(embedder, image) for image in shown])
    return ScoringInfo(
        centre=tuple(float(value) for value in centre),
        centre_factor=factor,
        same_picture=same_picture(cohort[: len(shown)], snapshots, factor * centre),
        cohort_source=images.source,
        cohort_from_station=images.from_station,
        cohort_photographs=True if images.photographs and not images.from_station else None,
        cohort_size=len(cohort),
    )


def _npy(array: Embeddings) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@cache
def _versions() -> dict[str, str]:
    installed = {dist.name.lower(): dist.version for dist in distributions()}
    return {tool: installed[tool] for tool in _TOOLS if tool in installed}
