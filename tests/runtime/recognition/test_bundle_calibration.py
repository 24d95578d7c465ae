"""What export measures for scoring: the centre, and how near a picture is to itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition.bundle_calibration import (
    LEAST_SAME,
    MOST_SAME,
    centre_factor,
    common_energy,
    ranking,
    same_picture,
    tried_centre_factor,
)

D = 32


def rows(seed: int, count: int, offset: float = 0.0) -> Any:
    return (np.random.default_rng(seed).standard_normal((count, D)) + offset).astype(np.float32)


@pytest.mark.parametrize(("offset", "factor"), [(0.0, 0.0), (0.8, 0.0), (1.4, 0.0), (3.0, 1.0)])
def test_only_a_narrow_cone_is_centred_unseen(offset: float, factor: float) -> None:
    cohort = rows(1, 400, offset)
    assert common_energy(cohort) == pytest.approx(offset**2 / (1 + offset**2), abs=0.03)
    assert centre_factor(cohort) == factor


def test_no_cohort_has_no_centre() -> None:
    assert centre_factor(np.zeros((0, D), np.float32)) == 0.0


def test_labelled_pictures_tell_that_a_centre_elsewhere_does_not_serve() -> None:
    kinds = np.repeat(rows(2, 16), 8, axis=0) + 0.5 * rows(3, 128)
    labels = np.repeat(np.arange(16), 8)
    elsewhere = 4.0 * rows(4, 1)[0]
    assert tried_centre_factor(kinds, labels, elsewhere) == 0.0


def test_the_same_picture_is_what_all_but_one_in_a_hundred_reach() -> None:
    frames, origin = rows(5, 300), np.zeros(D, np.float32)
    near = (frames + 0.6 * rows(6, 300)).astype(np.float32)
    expected = np.quantile(
        (frames * near).sum(1) / np.linalg.norm(frames, axis=1) / np.linalg.norm(near, axis=1), 0.01
    )
    got = same_picture(frames, near, origin)
    assert got == pytest.approx(max(expected, LEAST_SAME), abs=1e-6)
    assert same_picture(frames, frames, origin) == MOST_SAME
    assert same_picture(frames, rows(7, 300), origin) == LEAST_SAME


def test_the_ranking_counts_pairs_and_ties_half() -> None:
    own, strangers = np.array([0.3, 0.9], np.float32), np.array([0.3, 0.1], np.float32)
    assert ranking(own, strangers) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
