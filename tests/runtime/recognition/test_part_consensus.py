"""One answer a part, from all of its frames."""

from __future__ import annotations

import numpy as np
import pytest

from vision_edge.runtime.recognition.part_consensus import agree
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

DIM = 8
NONE = Cohort(np.zeros((0, DIM), np.float32), from_station=False)


def classifier() -> PrototypeClassifier:
    """Products a and b along two axes."""
    prototypes = 10 * np.eye(2, DIM, dtype=np.float32)
    return PrototypeClassifier(["a", "b"], prototypes, np.zeros(DIM, np.float32), NONE, threshold=0)


def near(axis: int, seed: int, noise: float = 0.5) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(0, noise, DIM).astype(np.float32)
    vector[axis] += 10
    return vector


def test_a_minority_of_frames_with_a_hand_does_not_count() -> None:
    frames = [near(0, i) for i in range(5)] + [near(1, i) * 4 for i in range(5, 9)]
    found = agree(classifier(), "mean", frames)
    assert found.decision.label == "a"
    assert found.order[0] < 5


@pytest.mark.parametrize(("a", "b", "label"), [(7, 3, "a"), (3, 7, "b"), (5, 5, None)])
def test_votes_need_more_than_half(a: int, b: int, label: str | None) -> None:
    frames = [near(0, i) for i in range(a)] + [near(1, i) for i in range(b)]
    assert agree(classifier(), "votes", frames).decision.label == label


@pytest.mark.parametrize("method", ["mean", "votes"])
def test_one_frame_is_its_own_consensus(method: str) -> None:
    found = agree(classifier(), method, [near(1, 0)])  # type: ignore[arg-type]
    assert (found.decision.label, found.order.tolist()) == ("b", [0])
