"""What the tests of recycling share: adapters with heads, and synthetic pools."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.toolkit import SIZE, qv_updates, random_head
from vision_edge.runtime.arrays import Image
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.pool.inverted import Inverted
from vision_edge.toolkit.pool.pool import Pool, PoolPart, open_pool


def headed(name: str, seed: int = 0, way: int = 3) -> Adapter:
    """An adapter with random updates and a random head, as `read_adapter` gives it."""
    return Adapter(
        name,
        qv_updates(2, seed=seed + 1),
        random_head(way, seed),
        sha256=hashlib.sha256(f"{name} {seed}".encode()).hexdigest(),
        info={"classes": [f"{name}-{index}" for index in range(way)]},
    )


def inverted(way: int = 3, per_class: int = 4, seed: int = 0, **changes: Any) -> Inverted:
    """What inversion gives, filled with noise; the labels are not in order."""
    rng = np.random.default_rng(seed)
    count = way * per_class
    made: dict[str, Any] = {
        "images": rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8),
        "labels": rng.permutation(np.repeat(np.arange(way), per_class)),
        "logits": rng.normal(size=(count, way)).astype(np.float32),
        "order": np.stack([rng.permutation(4) for _ in range(count)]).astype(np.int16),
        "cross_entropy": 0.25,
        "prior": 1.5,
    }
    return Inverted(**{**made, **changes})


def pool_in(folder: Path, backbone: Backbone, results: Sequence[Inverted]) -> Pool:
    """Write a pool of adapters `a0`, `a1`, ... with these images."""
    pool = open_pool(folder, backbone, InversionSettings().document(), "none", "noise")
    for index, result in enumerate(results):
        pool.add(headed(f"a{index}", index, result.logits.shape[1]), result)
    return pool


def noise_parts(
    folder: Path, backbone: Backbone, ways: Sequence[int] = (3, 3, 3)
) -> list[PoolPart]:
    """The parts of a pool of noise: four images a class."""
    results = [inverted(way, seed=index) for index, way in enumerate(ways)]
    return pool_in(folder, backbone, results).parts()


def easy_images(label: int, count: int, rng: np.random.Generator) -> Image:
    """Images whose class is a weak stripe, under a strong brightness that means nothing."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    angle = np.pi * label / 12
    wave = np.sin((np.cos(angle) * columns + np.sin(angle) * rows) * 1.1)
    brightness = rng.uniform(70, 185, (count, 1, 1, 3))
    noise = rng.normal(0, 6, (count, SIZE, SIZE, 3))
    values = brightness + 45 * wave[None, :, :, None] + noise
    return np.clip(values, 0, 255).astype(np.uint8)


def easy_parts(
    folder: Path, backbone: Backbone, adapters: int = 4, way: int = 3, per_class: int = 6
) -> list[PoolPart]:
    """The parts of a pool from which it can be learned what to look at, with sure teachers."""
    results = []
    for index in range(adapters):
        rng = np.random.default_rng([7, index])
        labels = np.repeat(np.arange(way), per_class)
        images = np.concatenate([easy_images(index * way + k, per_class, rng) for k in range(way)])
        logits = (6 * np.eye(way)[labels] + rng.normal(0, 0.3, (len(labels), way))).astype(
            np.float32
        )
        results.append(inverted(way, per_class, index, images=images, labels=labels, logits=logits))
    return pool_in(folder, backbone, results).parts()
