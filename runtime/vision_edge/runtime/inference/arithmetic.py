"""Choosing between float32 and a narrower arithmetic: it must agree, and it must be quicker."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.inference.agreement import MIN_COSINE, probe, probe_images
from vision_edge.runtime.inference.runner import Runner

LEAST_GAIN = 1.1
"""Times as fast as float32 that the narrower one must be: less is lost in the noise."""
_ROUNDS = 9


@dataclass(frozen=True)
class Trial:
    """What a trial of a narrower arithmetic found.

    Attributes:
        wins: Whether it agrees and is quicker.
        why: In words.
    """

    wins: bool
    why: str


def try_narrower(bundle: Bundle, plain: Runner, narrow: Runner) -> Trial:
    """Try a narrower arithmetic on this device.

    Args:
        bundle: The bundle that both run.
        plain: In float32.
        narrow: In the other; it is asked for what the export's gate asks of float16.
    """
    minimum = min(MIN_COSINE["fp16"], MIN_COSINE.get(bundle.manifest.precision, 1.0))
    found = probe(bundle, narrow, probe_images(bundle), minimum)
    agreed = f"cosine at least {found.min_cosine:.5f} on {found.images} images"
    if not found.passed:
        return Trial(False, f"refused: {agreed}, {found.minimum:g} is asked")
    gain = _gain(bundle, plain, narrow)
    told = f"{gain:.1f} times as fast as f32 here, {agreed}"
    return Trial(gain >= LEAST_GAIN, told)


def _gain(bundle: Bundle, plain: Runner, narrow: Runner) -> float:
    """Return how many times as fast the narrower one is; the two take turns."""
    size = bundle.manifest.preprocessing.size
    image = np.zeros((1, size, size, 3), np.uint8)
    ratios = []
    for _ in range(_ROUNDS):
        spent = []
        for runner in (plain, narrow):
            began = time.perf_counter()
            runner.run(image)
            spent.append(time.perf_counter() - began)
        ratios.append(spent[0] / spent[1])
    return statistics.median(ratios)
