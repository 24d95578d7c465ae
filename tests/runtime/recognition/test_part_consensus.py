"""One verdict a part, from all of its frames."""

from __future__ import annotations

import numpy as np

from vision_edge.runtime.recognition.part_consensus import PartVerdict, Passages
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


def feed(passages: Passages, frames: dict[int, np.ndarray], length: int) -> list[PartVerdict]:
    verdicts = []
    for number in range(length):
        verdicts += list(passages.add(number, frames.get(number)))
    return verdicts + list(passages.finish())


def test_each_passage_gets_one_verdict() -> None:
    frames = {i: near(0, i) for i in range(5, 12)} | {i: near(1, i) for i in range(20, 26)}
    verdicts = feed(Passages(classifier()), frames, 40)
    assert [(v.first, v.last, v.frames, v.decision.label) for v in verdicts] == [
        (5, 11, 7, "a"),
        (20, 25, 6, "b"),
    ]
    assert all(v.first <= v.evidence <= v.last for v in verdicts)


def test_a_short_gap_does_not_split_a_passage() -> None:
    frames = {i: near(0, i) for i in (5, 6, 9, 10)}
    assert [v.frames for v in feed(Passages(classifier(), gap=3), frames, 30)] == [4]


def test_a_verdict_comes_as_soon_as_the_gap_is_over() -> None:
    passages = Passages(classifier(), gap=3)
    for number in range(5):
        assert not list(passages.add(number, near(0, number)))
    waits = [bool(list(passages.add(number, None))) for number in range(5, 10)]
    assert waits == [False, False, False, True, False]


def test_a_minority_of_frames_with_a_hand_does_not_count() -> None:
    frames = {i: near(0, i) for i in range(5)} | {i: near(1, i) * 4 for i in range(5, 9)}
    (verdict,) = feed(Passages(classifier()), frames, 20)
    assert verdict.decision.label == "a"
    assert verdict.evidence < 5


def test_a_speck_of_two_frames_is_dropped() -> None:
    assert feed(Passages(classifier(), least=3), {4: near(0, 1), 5: near(0, 2)}, 20) == []


def test_the_end_of_the_source_ends_the_last_passage() -> None:
    frames = {i: near(1, i) for i in range(6, 10)}
    assert [v.decision.label for v in feed(Passages(classifier()), frames, 10)] == ["b"]
