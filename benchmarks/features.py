"""Embeddings of the shared data sets, kept between benchmarks so that each image is read once.

    python benchmarks/features.py --shared ../shared

Plain ViT-Tiny/16 as exported: what the device computes, by the session that it runs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import command
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.images.crops import CROPS, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.data.dataset import open_dataset

BACKBONE = "vit_tiny_patch16_224"
BATCH = 16


@dataclass(frozen=True)
class Features:
    """Embeddings float32 (N, D) of one split, or (N, 3, D) of views, and each one's class, int."""

    vectors: Embeddings
    labels: NDArray[np.int64]

    def by_class(self) -> list[Embeddings]:
        """Return the embeddings of each class."""
        return [self.vectors[self.labels == label] for label in np.unique(self.labels)]

    def members(self) -> list[NDArray[np.int64]]:
        """Return, of each class, its rows."""
        return [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]


def vit_tiny_bundle(shared: Path, cache: Path) -> Path:
    """Return a bundle of the shared ViT-Tiny, exported once."""
    path = cache / "bundle"
    if not (path / "manifest.json").is_file():
        weights = shared / "weights" / f"{BACKBONE}.safetensors"
        command("export", "--backbone", BACKBONE, "--weights", weights, "--out", path)
    return path


def vit_tiny_session(shared: Path, cache: Path) -> Session:
    """Return a session of it on the CPU."""
    return open_session(load_bundle(vit_tiny_bundle(shared, cache)), "cpu")


def features(shared: Path, cache: Path, name: str, split: str, each: int = 10_000) -> Features:
    """Return the embeddings of up to `each` images a class, from the cache where they are there."""
    path = cache / f"{name}-{split}-{each}.npz"
    if not path.is_file():
        session = vit_tiny_session(shared, cache)
        data = open_dataset(shared / "data" / f"{name}.zip", split)
        rng = np.random.default_rng(0)
        chosen = np.concatenate([rng.permutation(members)[:each] for members in data.by_class()])
        prepared = (prepare(image, session.spec) for image in data.images(chosen.tolist()))
        vectors = np.concatenate([session.embed(image[None]) for image in prepared])
        with atomic_file(path) as temporary:
            np.savez(temporary, vectors=vectors, labels=data.labels[chosen])
    with np.load(path, allow_pickle=False) as stored:
        return Features(stored["vectors"], stored["labels"].astype(np.int64))


def view_features(
    shared: Path, cache: Path, model: str, name: str, split: str, each: int = 45
) -> Features:
    """Return the embeddings of up to `each` images a class, of the views that snapshots have.

    Args:
        shared: Where data and weights lie.
        cache: Where `MODEL-SET-SPLIT-views.npz` lie, or are written: for `plain` here, for other
            bundles by `main` with `--bundle`.
        model: What to call the embedder.
        name: The data set.
        split: Its split.
        each: Images a class.
    """
    path = cache / f"{model}-{name}-{split}-views.npz"
    if not path.is_file():
        if model != "plain":
            raise SystemExit(f"{path} is absent: python benchmarks/features.py --bundle BUNDLE")
        write_views(vit_tiny_session(shared, cache), shared, path, name, split, each)
    with np.load(path, allow_pickle=False) as stored:
        return Features(stored["vectors"].astype(np.float32), stored["labels"].astype(np.int64))


def write_views(
    session: Session, shared: Path, path: Path, name: str, split: str, each: int = 45
) -> None:
    """Embed the views of up to `each` images a class, and keep them."""
    data = open_dataset(shared / "data" / f"{name}.zip", split)
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(members)[:each] for members in data.by_class()])
    views = (
        np.stack([prepare(cropped(image, share), session.spec) for share in CROPS])
        for image in data.images(chosen.tolist())
    )
    vectors = np.stack([session.embed(images) for images in views])
    with atomic_file(path) as temporary:
        np.savez(temporary, vectors=vectors, labels=data.labels[chosen])


SPLITS = (
    ("grocery", "train", 40),
    ("mini_imagenet", "val", 40),
    ("mini_imagenet", "train", 20),
    ("neu_steel", "test", 10_000),
    ("grocery", "test", 10_000),
    ("mini_imagenet", "test", 10_000),
    ("tiny_imagenet", "train", 12),
)
"""What the open-set and registration benchmarks look at."""


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".out/features"))
    parser.add_argument("--bundle", type=Path, help="views of this bundle instead, by its name")
    args = parser.parse_args()
    if args.bundle is not None:
        session = open_session(load_bundle(args.bundle), "cpu")
        for name, split, _ in SPLITS[:-1]:
            path = args.cache / f"{args.bundle.name}-{name}-{split}-views.npz"
            write_views(session, args.shared, path, name, split)
        return
    for name, split, each in SPLITS:
        found = features(args.shared, args.cache, name, split, each)
        print(f"{name}/{split}: {found.vectors.shape}", flush=True)


if __name__ == "__main__":
    main()
