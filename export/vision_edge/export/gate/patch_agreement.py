"""The gate of the second output: are the exported model's patches those of the PyTorch one?

Which patches [CLS] attends to most may turn on the last bit, so patches are not compared one by one
but as they are used: how well is each of the exported model's found among the PyTorch model's?
"""

from __future__ import annotations

import numpy as np

from vision_edge.export.settings import ExportSettings
from vision_edge.runtime.arrays import Image, Patches
from vision_edge.runtime.bundles.manifest import PatchInfo
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.inference.embedder import PatchEmbedder
from vision_edge.runtime.recognition.patch_ranking import patch_score

WEIGHT = 0.5
"""What a patch score counts beside a cosine, chosen on train and val splits: of 0.25 to 4 the
largest that costs no set more than half a point (docs/explanation/recognition-options.md)."""
MIN_AGREEMENT = {"fp32": 0.999, "fp16": 0.97, "int8": 0.85}
"""Least agreement of any image, by precision. Another patch at the edge of the choice costs 0.01;
ViT-Tiny on generated scenes: 1.000, 0.987 and 0.9."""


def unjudged(count: int) -> PatchInfo:
    """Return what is known of a second output of `count` patches before the gate."""
    return PatchInfo(count=count, weight=WEIGHT, images=0, min_agreement=0.0, mean_agreement=0.0)


def judge_patches(
    candidate: PatchEmbedder, images: Image, reference: Patches, settings: ExportSettings
) -> PatchInfo:
    """Compare the exported model's patches with PyTorch's, and refuse what does not agree.

    Args:
        candidate: The exported model.
        images: uint8 (N, S, S, 3), BGR, prepared.
        reference: float32 (N, T, D), PyTorch's patches of them.
        settings: Which precision.

    Raises:
        ExportError: If an image's patches agree less than the limit.
    """
    found = []
    for image, expected in zip(images, reference, strict=True):
        _, patches = candidate.embed_patches(image[None])
        assert patches is not None
        found.append(patch_score(patches[0], expected))
    least, limit = float(np.min(found)), MIN_AGREEMENT[settings.precision]
    if not least >= limit:
        raise ExportError(
            f"parity gate: the exported model's patches ({settings.precision}) disagree with the "
            f"PyTorch one's: {least:.4f} on image {int(np.argmin(found))} of {len(found)} (at "
            f"least {limit} is asked); nothing was written",
            fix="export without --patches, or in a wider precision",
        )
    return PatchInfo(
        count=reference.shape[1],
        weight=WEIGHT,
        images=len(found),
        min_agreement=least,
        mean_agreement=float(np.mean(found)),
    )
