"""How much of a distribution lies above: in closed form, without a library of statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def student_tail(deviations: Floats) -> Floats:
    """Return how much of Student's distribution with 6 degrees of freedom lies above.

    In closed form (Abramowitz and Stegun 26.7.4).
    """
    sine = deviations / np.sqrt(6.0 + np.square(deviations))
    cosine = 1.0 - np.square(sine)
    tail: Floats = 0.5 * (1.0 - sine * (1.0 + cosine / 2.0 + 0.375 * np.square(cosine)))
    return tail


def normal_tail(deviations: Floats) -> Floats:
    """Return how much of the normal distribution lies above; exact to 1e-7.

    By Abramowitz and Stegun 26.2.17.
    """
    size = np.abs(deviations)
    k = 1.0 / (1.0 + 0.2316419 * size)
    series = k * (
        0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))
    )
    upper = np.exp(-0.5 * np.square(size)) / np.sqrt(2.0 * np.pi) * series
    tail: Floats = np.where(deviations >= 0, upper, 1.0 - upper)
    return tail
