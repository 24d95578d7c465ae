"""Probing finds what is wrong with a runner (numbers, neighbours, memory) and passes the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.runtime import SIZE, make_bundle, picture, reference_embeddings, weights

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.images.generated_scenes import SOURCE
from vision_edge.runtime.inference.agreement import SCENES, cosine, probe, probe_images


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


class Right:
    """The tiny model."""

    def run(self, images: Image) -> Embeddings:
        return reference_embeddings(images, weights())


class Noisy(Right):
    def run(self, images: Image) -> Embeddings:
        right = super().run(images)
        noise = np.random.default_rng(0).standard_normal(right.shape)
        return (right + 0.03 * np.abs(right).mean() * noise).astype(np.float32)


class First(Right):
    """Gives the first image's answer for ever, as a graph that was captured wrongly."""

    kept: Embeddings | None = None

    def run(self, images: Image) -> Embeddings:
        if self.kept is None:
            self.kept = super().run(images)[:1]
        return np.repeat(self.kept, len(images), axis=0)


class Neighbours(Right):
    """Mixes the images of a batch."""

    def run(self, images: Image) -> Embeddings:
        right = super().run(images)
        return right if len(right) == 1 else right[::-1]


class Nothing(Right):
    def run(self, images: Image) -> Embeddings:
        return np.full_like(super().run(images), np.nan)


def test_the_same_model_passes(bundle: Bundle) -> None:
    found = probe(bundle, Right(), probe_images(bundle))
    assert found.passed
    assert found.min_cosine > 0.999999
    assert (found.images, found.source, found.minimum) == (SCENES, SOURCE, 0.9999)


@pytest.mark.parametrize("wrong", [Noisy, First, Neighbours, Nothing])
def test_what_is_wrong_does_not_pass(bundle: Bundle, wrong: type[Right]) -> None:
    found = probe(bundle, wrong(), probe_images(bundle))
    assert not found.passed
    assert found.min_cosine < 0.9999
    assert found.mean_cosine < 1


def test_what_is_asked_depends_on_the_precision(tmp_path: Path) -> None:
    half = load_bundle(make_bundle(tmp_path / "b", precision="fp16"))
    assert probe(half, Noisy(), probe_images(half)).passed
    assert not probe(half, Noisy(), probe_images(half), 0.99999).passed


def test_pictures_take_the_scenes_place(bundle: Bundle) -> None:
    pictures = [picture(seed, side=40 + 8 * seed) for seed in range(3)]
    given = probe_images(bundle, pictures, "pictures")
    assert given.images.shape == (3, SIZE, SIZE, 3)
    assert given.source == "3 pictures"
    assert probe(bundle, Right(), given).passed


def test_one_picture_is_too_few_to_show_that_answers_are_mixed_up(bundle: Bundle) -> None:
    assert len(probe_images(bundle, [picture(0)], "pictures").images) == SCENES


def test_many_pictures_are_thinned_out_evenly(bundle: Bundle) -> None:
    shades = [np.full((SIZE, SIZE, 3), shade, np.uint8) for shade in range(100)]
    given = probe_images(bundle, shades, "shades")
    assert given.images[:, 0, 0, 0].tolist() == list(range(0, 96, 3))


def test_cosine_of_rows() -> None:
    left = np.array([[1, 0], [3, 4], [0, 0]], np.float32)
    right = np.array([[2, 0], [4, -3], [1, 1]], np.float32)
    assert cosine(left, right).tolist() == [1, 0, 0]
