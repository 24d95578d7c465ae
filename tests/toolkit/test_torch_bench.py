"""PyTorch in the benchmark is the bundle's own model, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.runtime import make_bundle

from vision_edge.bench.worker import open_rival, pictures
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import open_session
from vision_edge.toolkit.torch_bench import open_torch


def test_the_shipped_bundle_is_the_average_of_the_shipped_hub() -> None:
    bundle = load_bundle(asset("bundle"))
    session = open_session(bundle, "cpu", threads=1)
    images = np.stack([prepare(image, session.spec) for image in pictures(3, 256, 256)])
    left, right = session.embed(images), open_rival("torch")(bundle, threads=1).embed(images)
    cosines = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    assert cosines.min() > 0.9999


def test_a_bundle_with_an_adapter_needs_it(tmp_path: Path) -> None:
    adapter = {"name": "meta", "sha256": "a" * 64, "method": "average"}
    bundle = load_bundle(make_bundle(tmp_path / "b", adapter=adapter))
    with pytest.raises(AdapterError, match="'meta' was merged"):
        open_torch(bundle, threads=1)
