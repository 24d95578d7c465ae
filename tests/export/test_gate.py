import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from helpers_toolkit import random_images, refusal

from vision_edge.export.parity import MIN_COSINE_FP32, compare, gate
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.preprocess import Image, PreprocessSpec


@dataclass
class Fake:
    """An embedder that calls a function."""

    function: Any
    name: str = "fake"
    spec: PreprocessSpec = field(default_factory=PreprocessSpec)

    def embed(self, images: Image) -> np.ndarray:
        return np.asarray(self.function(images), np.float32)


def _mean(images: Image) -> np.ndarray:
    return images.astype(np.float32).mean(axis=(1,)).reshape(len(images), -1)


def test_figures_are_those_of_the_cosines() -> None:
    rng = np.random.default_rng(0)
    left = rng.normal(size=(6, 9)).astype(np.float32)
    right = left + rng.normal(size=(6, 9)).astype(np.float32) * 0.3
    cosines = [
        np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
        for a, b in zip(left.astype(float), right.astype(float), strict=True)
    ]
    parity = compare(left, right)
    assert parity.images == 6
    assert parity.min_cosine == pytest.approx(min(cosines), abs=1e-12)
    assert parity.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-12)
    assert parity.worst == int(np.argmin(cosines))


def test_the_same_is_one_and_the_opposite_minus_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert compare(vectors, vectors).min_cosine == pytest.approx(1.0, abs=1e-12)
    assert compare(vectors, -vectors).mean_cosine == pytest.approx(-1.0, abs=1e-12)


def test_zeros_agree_with_nothing() -> None:
    assert compare(np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)).min_cosine == 0.0


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((0, 3), (0, 3))])
def test_what_cannot_be_compared_is_refused(left: tuple[int, int], right: tuple[int, int]) -> None:
    with pytest.raises(ExportError, match="cannot compare") as caught:
        compare(np.ones(left, np.float32), np.ones(right, np.float32))
    assert str(left) in str(caught.value)
    assert str(right) in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_are_refused(value: float, side: int) -> None:
    sides = [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)]
    sides[side][1, 2] = value
    with refusal(ExportError, "not finite"):
        compare(*sides)


def test_the_gate_lets_pass_what_agrees_and_returns_the_candidate_s_embeddings() -> None:
    images = random_images(5)
    parity, embeddings = gate(Fake(_mean), Fake(lambda x: _mean(x) * 2), images)
    assert parity.min_cosine >= MIN_COSINE_FP32
    np.testing.assert_allclose(embeddings, _mean(images) * 2)


def test_the_gate_names_the_one_image_that_disagrees() -> None:
    images = random_images(5)
    odd = images[3]

    def candidate(batch: Image) -> np.ndarray:
        result = _mean(batch)
        wrong = [np.array_equal(image, odd) for image in batch]
        result[wrong] = result[wrong][:, ::-1]
        return result

    with refusal(ExportError, "image 3 of 5", str(MIN_COSINE_FP32), "nothing was written"):
        gate(Fake(_mean), Fake(candidate), images)
    loose, _ = gate(Fake(_mean), Fake(candidate), images, minimum=-1.0)
    assert loose.worst == 3
    between = (loose.min_cosine + loose.mean_cosine) / 2
    with refusal(ExportError, "image 3 of 5"):
        gate(Fake(_mean), Fake(candidate), images, minimum=between)


def test_the_gate_sees_an_answer_that_depends_on_its_neighbours() -> None:
    images = random_images(4)
    with refusal(ExportError, "parity gate"):
        gate(Fake(lambda x: _mean(x) - _mean(x).mean(axis=0)), Fake(_mean), images)


def test_the_gate_sees_a_model_that_gives_the_first_answer_for_ever() -> None:
    """As CUDA graphs without fixed addresses did (onnxruntime#20050)."""
    images, first = random_images(4), []

    def stuck(batch: Image) -> np.ndarray:
        first.append(_mean(batch))
        return first[0]

    with refusal(ExportError, "parity gate"):
        gate(Fake(_mean), Fake(stuck), images)


def test_the_gate_does_not_let_nan_pass() -> None:
    with refusal(ExportError, "not finite"):
        gate(Fake(_mean), Fake(lambda x: _mean(x) * np.nan), random_images(2))
