"""The parity gate: an export is used only if it gives the PyTorch model's answers.

Three questions, none of them on an image that the export was calibrated on: are the embeddings
those of the float32 PyTorch model, is few-shot accuracy what it was, and are the verdicts the same?
A model that leaves out patches is compared with PyTorch leaving out the same ones, and then with
PyTorch leaving out none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vision_edge.export.gate.fewshot_trial import (
    Embedded,
    compare_accuracy,
    compare_verdicts,
    in_batches,
    labelled_by_views,
)
from vision_edge.export.gate.parity import Parity, compare
from vision_edge.export.settings import ExportSettings, LabelledImages
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.manifest import ParityInfo, PruningInfo
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.inference.embedder import Embedder

ROUNDING = 1e-9
"""Rounding that a limit forgives."""


@dataclass(frozen=True)
class Contenders:
    """The models that the gate compares.

    Attributes:
        whole: The float32 PyTorch model, with all patches.
        twin: The same with the export's pruning; the very same object where there is none.
        candidate: The exported model.
        worst_layer: Names the part that does most harm on images uint8 (N, S, S, 3), and None
            where there is nothing to choose from.
        worst_step: The same for pruning.
    """

    whole: Embedder
    twin: Embedder
    candidate: Embedder
    worst_layer: Callable[[Image], str | None] = lambda images: None
    worst_step: Callable[[Image], str | None] = lambda images: None


@dataclass(frozen=True)
class GateImages:
    """What the gate looks at.

    Attributes:
        images: uint8 (N, S, S, 3), BGR, prepared: none of them was used for calibration.
        source: What they are.
        cohort: uint8 (M, S, S, 3), BGR, prepared: images of no product.
        photographs: Whether the cohort are photographs of the station's kind.
        labelled: For few-shot episodes; views of the images by default.
    """

    images: Image
    source: str
    cohort: Image
    photographs: bool
    labelled: LabelledImages | None = None


def judge(
    models: Contenders, given: GateImages, settings: ExportSettings
) -> tuple[ParityInfo, Embeddings]:
    """Compare the models, and refuse what does not agree.

    The candidate embeds the gate's images one at a time and PyTorch in batches, so a batch that
    the export froze, or an answer that depends on its neighbours, shows as well.

    Returns:
        The figures for the manifest, and the candidate's embeddings of the cohort, (M, D).

    Raises:
        ExportError: If a figure misses its limit; says by how much, where, and what to do.
    """
    limits = settings.limits
    got = np.concatenate([models.candidate.embed(image[None]) for image in given.images])
    twin = models.twin.embed(given.images)
    parity = compare(twin, got)
    if not parity.min_cosine >= limits.min_cosine:
        raise _disagreement(models, given.images, parity, settings)
    pruning = None
    if models.twin is not models.whole:
        pruning = _pruning(models, given.images, got, settings)
    trial = given.labelled or labelled_by_views(given.images, given.source)
    exact, ours = (
        Embedded(in_batches(model, trial.images), _cohort(model, given, known))
        for model, known in ((models.whole, None), (models.candidate, got))
    )
    accuracy = compare_accuracy(trial, exact.pictures, ours.pictures)
    if not accuracy.float32 - accuracy.exported <= limits.max_accuracy_drop + ROUNDING:
        raise _drop(models, given.images, accuracy.float32, accuracy.exported, settings)
    info = ParityInfo(
        images=parity.images,
        image_source=given.source,
        min_cosine=parity.min_cosine,
        mean_cosine=parity.mean_cosine,
        asked_min_cosine=limits.min_cosine,
        accuracy=accuracy,
        verdicts=compare_verdicts(trial, exact, ours, given.photographs),
        pruning=pruning,
    )
    return info, ours.cohort


def _cohort(model: Embedder, given: GateImages, known: Embeddings | None) -> Embeddings:
    """Embed the cohort, unless it is the gate's images, whose embeddings are known."""
    if known is not None and given.cohort is given.images:
        return known
    return in_batches(model, given.cohort)


def _pruning(
    models: Contenders, images: Image, got: Embeddings, settings: ExportSettings
) -> PruningInfo:
    parity = compare(models.whole.embed(images), got)
    asked = settings.limits.min_pruned_cosine
    if not parity.mean_cosine >= asked:
        step = models.worst_step(images)
        raise ExportError(
            f"parity gate: with patches left out ({settings.pruning}) the mean cosine to the "
            f"model with all patches is {parity.mean_cosine:.4f} on {parity.images} images, "
            f"{asked - parity.mean_cosine:.4f} short of {asked:g}; nothing was written"
            + (f"; the step that does most harm is {step}" if step else ""),
            fix="leave out fewer patches, in gentle steps (--prune 4:0.25,7:0.25), or accept "
            "it with --min-cosine",
        )
    return PruningInfo(
        steps=str(settings.pruning),
        min_cosine=parity.min_cosine,
        mean_cosine=parity.mean_cosine,
    )


def _disagreement(
    models: Contenders, images: Image, parity: Parity, settings: ExportSettings
) -> ExportError:
    asked = settings.limits.min_cosine
    layer = models.worst_layer(_worst_first(images, parity.worst))
    return ExportError(
        f"parity gate: the exported model ({settings.precision}) disagrees with the PyTorch one: "
        f"cosine {parity.min_cosine:.6f} on image {parity.worst} of {parity.images} (at least "
        f"{asked} is asked, so {asked - parity.min_cosine:.6f} is missing; the mean is "
        f"{parity.mean_cosine:.6f}); nothing was written"
        + (f"; the layer that does most harm is {layer}" if layer else ""),
        fix=_remedy(settings),
    )


def _drop(
    models: Contenders, images: Image, exact: float, ours: float, settings: ExportSettings
) -> ExportError:
    step = models.worst_step(images) if settings.pruning.steps else None
    layer = models.worst_layer(images)
    guilty = " and ".join(filter(None, (step and f"pruning step {step}", layer)))
    allowed = settings.limits.max_accuracy_drop
    return ExportError(
        f"parity gate: few-shot accuracy falls from {exact:.2f} % to {ours:.2f} %, by "
        f"{exact - ours:.2f} points where {allowed:g} are allowed; nothing was written"
        + (f"; most harm is done by {guilty}" if guilty else ""),
        fix=_remedy(settings, "accept it with --max-accuracy-drop"),
    )


def _remedy(settings: ExportSettings, otherwise: str = "accept it with --min-cosine") -> str:
    """Say what helps, by what was asked for."""
    if settings.precision == "int8":
        return (
            "calibrate on more pictures of what the camera sees (--calibrate), export with "
            f"--precision fp16, or {otherwise}"
        )
    if settings.precision == "fp16":
        return f"export with --precision fp32, or {otherwise}"
    if settings.half_weights:
        return f"export without --half-weights, or {otherwise}"
    if settings.pruning.steps:
        return f"leave out fewer patches, in gentle steps (--prune 4:0.25,7:0.25), or {otherwise}"
    return "report this with the backbone's name"


def _worst_first(images: Image, worst: int) -> Image:
    return np.concatenate([images[worst : worst + 1], images[:worst], images[worst + 1 :]])
