"""Probing: does a faster way of running a bundle still give the bundle's embeddings?

The reference is the same ONNX file in ONNX Runtime on this device's CPU: it needs no PyTorch, and a
broken kernel of a GPU cannot be in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.images.generated_scenes import SOURCE, generated_scenes
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.onnx_runtime import open_ort
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.runner import Runner

SCENES = 12
MAX_PICTURES = 32
MIN_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.99}
"""Least agreement of any image, by the precision of the bundle."""
MIN_COSINE_TF32 = 0.999
_CHUNK = 8


@dataclass(frozen=True)
class ProbeImages:
    """Images to probe with: uint8 (N, S, S, 3), BGR, and what they are."""

    images: Image
    source: str


@dataclass(frozen=True)
class Probe:
    """What a probe found.

    Attributes:
        passed: Whether every image agrees.
        min_cosine: The worst image's cosine similarity; -1 if a value is not finite.
        mean_cosine: The mean over all images.
        minimum: What was asked of every image.
        images: How many there were.
        source: What they are.
    """

    passed: bool
    min_cosine: float
    mean_cosine: float
    minimum: float
    images: int
    source: str


def probe_images(bundle: Bundle, pictures: Sequence[Image] = (), source: str = "") -> ProbeImages:
    """Return pictures, prepared, or generated scenes where there are fewer than two.

    Args:
        bundle: The bundle whose preprocessing prepares them.
        pictures: uint8 (H, W, 3) each, BGR, of any size; not more than `MAX_PICTURES` are taken,
            evenly over them all.
        source: What they are, for the record.
    """
    spec = bundle.manifest.preprocessing
    chosen = pictures[:: max(1, len(pictures) // MAX_PICTURES)][:MAX_PICTURES]
    if len(chosen) > 1:
        prepared = np.stack([prepare(picture, spec) for picture in chosen])
        return ProbeImages(prepared, f"{len(chosen)} {source}")
    return ProbeImages(np.stack(generated_scenes(SCENES, spec.size)), SOURCE)


def probe(
    bundle: Bundle, candidate: Runner, given: ProbeImages, minimum: float | None = None
) -> Probe:
    """Compare a runner with ONNX Runtime on the CPU.

    The candidate embeds every image alone and then all of them as a batch, so an answer that
    depends on its neighbours, or is the previous image's, shows.

    Args:
        bundle: The bundle that the candidate runs.
        candidate: What is to be used.
        given: At least two images.
        minimum: Least cosine similarity of any image; by default by the bundle's precision.
    """
    reference = open_ort(bundle, "cpu", SessionOptions())
    images = given.images
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    expected = np.concatenate([reference.run(chunk) for chunk in chunks])
    alone = np.concatenate([candidate.run(image[None]) for image in images])
    cosines = np.concatenate([cosine(expected, alone), cosine(expected, candidate.run(images))])
    asked = MIN_COSINE.get(bundle.manifest.precision, 0.99) if minimum is None else minimum
    finite = bool(np.isfinite(cosines).all())
    worst, mean = (float(cosines.min()), float(cosines.mean())) if finite else (-1.0, -1.0)
    return Probe(finite and worst >= asked, worst, mean, asked, len(images), given.source)


def cosine(left: Embeddings, right: Embeddings) -> np.ndarray:
    """Return the cosine similarity of each row, float64 (N,); NaN where a value is not finite."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return np.asarray((a * b).sum(axis=1) / np.maximum(lengths, 1e-12))
