"""What more views of the one snapshot bring, and how the quality gate errs.

    python benchmarks/snapshots.py --shared ../shared

5-way 1-shot accuracy (centred cosine, 8 queries a class) of the mean embedding of several views
against the snapshot alone, on the same 300 episodes; train and val splits, for choosing the views.
The gate is shown images of train splits as they are, darkened to 12 % and blurred by 1.5 % of their
short side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from features import vit_tiny_session
from measured import circumstances
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.crops import cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.images.quality import inspect_picture
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.product_scores import centred_cosine
from vision_edge.toolkit.data.dataset import open_dataset

SETS = (("grocery", "train", 10), ("mini_imagenet", "val", 16))
GATE = (("grocery", "train"), ("mini_imagenet", "train"))
WAY, QUERIES, EPISODES, GATE_IMAGES = 5, 8, 300, 300


def turned(image: Image, degrees: float) -> Image:
    """Return the picture turned about its middle."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=1), np.uint8)


def relit(image: Image, gain: float) -> Image:
    """Return the picture under another light."""
    return np.clip(image.astype(np.float32) * gain, 0, 255).astype(np.uint8)


VIEWS: tuple[Callable[[Image], Image], ...] = (
    lambda image: image,
    lambda image: np.ascontiguousarray(image[:, ::-1]),
    lambda image: turned(image, 8.0),
    lambda image: turned(image, -8.0),
    lambda image: cropped(image, 0.85),
    lambda image: cropped(image, 0.7),
    lambda image: relit(image, 0.7),
    lambda image: relit(image, 1.35),
)
CHOICES = {
    "mirror": (0, 1),
    "turn": (0, 2, 3),
    "crops": (0, 4, 5),
    "light": (0, 6, 7),
    "mirror and crops": (0, 1, 4, 5),
    "all": tuple(range(8)),
}


def embedded(
    session: Session, shared: Path, name: str, split: str, each: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return float32 (N, views, D) and the labels (N,)."""
    data = open_dataset(shared / "data" / f"{name}.zip", split)
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(members)[:each] for members in data.by_class()])
    vectors = [
        np.concatenate([session.embed(prepare(view(image), session.spec)[None]) for view in VIEWS])
        for image in data.images(chosen.tolist())
    ]
    return np.stack(vectors), data.labels[chosen]


def accuracies(
    vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return each choice's accuracy on every episode, in percent."""
    rng = np.random.default_rng(0)
    choices = {"snapshot alone": (0,), **CHOICES}
    found: dict[str, list[float]] = {name: [] for name in choices}
    for _ in range(EPISODES):
        drawn = rng.permutation(np.unique(labels))[:WAY]
        images = [rng.permutation(np.flatnonzero(labels == label)) for label in drawn]
        queries = vectors[np.concatenate([own[1 : 1 + QUERIES] for own in images]), 0]
        truth = np.repeat(np.arange(WAY), [len(own[1 : 1 + QUERIES]) for own in images])
        for name, views in choices.items():
            shown = vectors[[own[0] for own in images]][:, views].mean(axis=1)
            scores = centred_cosine(queries, shown, shown.mean(axis=0))
            found[name].append(100 * float((scores.argmax(axis=1) == truth).mean()))
    return {name: np.array(values) for name, values in found.items()}


def gains(values: dict[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Return mean accuracies, and the gain over the snapshot alone with its 95 % interval."""
    alone = values["snapshot alone"]
    return {
        name: {
            "accuracy": round(float(value.mean()), 2),
            "gain": round(float((value - alone).mean()), 2),
            "ci95": round(1.96 * float((value - alone).std()) / len(alone) ** 0.5, 2),
        }
        for name, value in values.items()
    }


def gate_rates(shared: Path, name: str, split: str) -> dict[str, float]:
    """Return the share of images that the gate refuses, in percent, by what was done to them."""
    data = open_dataset(shared / "data" / f"{name}.zip", split)
    chosen = np.random.default_rng(0).permutation(len(data))[:GATE_IMAGES]
    spoil: dict[str, Callable[[Image], Image]] = {
        "as they are": lambda image: image,
        "darkened": lambda image: relit(image, 0.12),
        "blurred": lambda i: np.asarray(cv2.GaussianBlur(i, (0, 0), 0.015 * min(i.shape[:2]))),
    }
    images = list(data.images(chosen.tolist()))
    return {
        kind: round(100 * float(np.mean([bool(inspect_picture(f(image))) for image in images])), 1)
        for kind, f in spoil.items()
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".out/features"))
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    session = vit_tiny_session(args.shared, args.cache)
    gate = {f"{name}/{split}": gate_rates(args.shared, name, split) for name, split in GATE}
    views = {
        f"{name}/{split}": gains(accuracies(*embedded(session, args.shared, name, split, each)))
        for name, split, each in SETS
    }
    document = {**circumstances(), "refused_percent": gate, "views": views}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "snapshots.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
