"""A narrower arithmetic must agree and be quicker, or float32 stays."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support.runtime import reference_embeddings, weights

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.agreement import cosine
from vision_edge.runtime.inference.arithmetic import try_narrower
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import open_session


class Runner:
    """The tiny model, so slow and so wrong."""

    def __init__(self, seconds: float, wrong: float = 0.0) -> None:
        self.seconds, self.wrong = seconds, wrong

    def run(self, images: Image) -> Embeddings:
        time.sleep(self.seconds)
        exact = reference_embeddings(images, weights())
        noise = np.random.default_rng(0).standard_normal(exact.shape) * exact.std()
        return (exact + self.wrong * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("narrow", "wins", "why"),
    [
        (Runner(0.001, 0.0001), True, "times as fast as f32 here, cosine at least 1.00000"),
        (Runner(0.009), False, "times as fast as f32 here"),
        (Runner(0.001, 0.3), False, "0.999 is asked"),
        (Runner(0.001, float("nan")), False, "cosine at least -1"),
    ],
    ids=["quicker", "no quicker", "another model", "not finite"],
)
def test_it_must_agree_and_be_quicker(
    bundle_path: Path, narrow: Runner, wins: bool, why: str
) -> None:
    trial = try_narrower(load_bundle(bundle_path), Runner(0.008), narrow)
    assert trial.wins == wins, trial.why
    assert why in trial.why


def test_openvino_takes_bf16_only_where_it_agrees() -> None:
    """On a processor without bf16 units it says so; with them, what it chose and why."""
    pytest.importorskip("openvino")
    bundle = load_bundle(asset("bundle"))
    options = SessionOptions(threads=1, precision="auto")
    opened = open_session(bundle, "openvino", options=options)
    (note,) = opened.notes
    assert note.startswith("precision hint auto: ")
    assert "no bf16" in note or "times as fast as f32 here" in note
    images = np.stack(generated_scenes(3, bundle.manifest.preprocessing.size, seed=4))
    expected = open_session(bundle, "cpu", threads=1).embed(images)
    assert cosine(expected, opened.embed(images)).min() > 0.999
