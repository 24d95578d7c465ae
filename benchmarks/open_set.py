"""How often strangers are accepted, and products recognised, at an asked false-accept rate.

    python benchmarks/open_set.py --shared ../shared

On train and val splits only, for these figures were used to choose the runtime's constants. In
each draw P classes are registered by one snapshot each and eight others are strangers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measured import circumstances

from vision_edge.export.samples import generated_scenes
from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.preprocess import prepare
from vision_edge.runtime.prototypes import Cohort, PrototypeClassifier
from vision_edge.toolkit.backbones import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data import open_dataset

STRANGERS, QUERIES = 8, 7
SETS = (("mini_imagenet", "val"), ("grocery", "train"))


def features(
    backbone: Backbone, shared: Path, name: str, split: str, each: int
) -> tuple[Embeddings, np.ndarray]:
    """Embed `each` images of every class: float32 (N, D) and their labels (N,)."""
    data = open_dataset(shared / "data" / f"{name}.zip", split)
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(members)[:each] for members in data.by_class()])
    prepared = data.prepared(backbone.spec, chosen.tolist())
    return backbone.embedder().embed(prepared), data.labels[chosen]


def draws(
    labels: np.ndarray, products: int, count: int
) -> Iterator[tuple[list[int], list[int], list[int], list[int]]]:
    """Yield snapshots, queries, the queries' products, and strangers, as indices."""
    rng = np.random.default_rng(0)
    classes = np.unique(labels)
    for _ in range(count):
        drawn = rng.permutation(classes)[: products + STRANGERS]
        snapshots, queries, truth, strangers = [], [], [], []
        for position, label in enumerate(drawn):
            images = rng.permutation(np.flatnonzero(labels == label))
            if position < products:
                snapshots.append(int(images[0]))
                queries += images[1 : 1 + QUERIES].tolist()
                truth += [position] * len(images[1 : 1 + QUERIES])
            else:
                strangers += images[: QUERIES + 1].tolist()
        yield snapshots, queries, truth, strangers


def rates(
    vectors: Embeddings, labels: np.ndarray, cohort: Cohort, products: int, args: argparse.Namespace
) -> dict[str, float]:
    """Return the share of strangers accepted, and of products accepted and right, in percent."""
    accepted, right = [], []
    prior = cohort.embeddings.mean(axis=0)
    for snapshots, queries, truth, strangers in draws(labels, products, args.draws):
        names = [str(index) for index in range(products)]
        classifier = PrototypeClassifier(
            names, vectors[snapshots], prior, cohort, false_accept_rate=args.far
        )
        found = [decision.label for decision in classifier.classify(vectors[queries])]
        right.append(np.mean([a == str(b) for a, b in zip(found, truth, strict=True)]))
        accepted.append(np.mean([d.known for d in classifier.classify(vectors[strangers])]))
    return {
        "strangers_accepted": round(100 * float(np.mean(accepted)), 1),
        "products_right": round(100 * float(np.mean(right)), 1),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--far", type=float, default=0.05)
    parser.add_argument("--draws", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    weights = args.shared / "weights" / "vit_tiny_patch16_224.safetensors"
    backbone = load_backbone(BackboneOptions(name="vit_tiny_patch16_224", weights=weights))
    scenes = [prepare(image, backbone.spec) for image in generated_scenes(128, backbone.spec.size)]
    cohorts = {
        "generated": Cohort(backbone.embedder().embed(np.stack(scenes)), from_station=False),
        "mini_imagenet/train": Cohort(
            features(backbone, args.shared, "mini_imagenet", "train", 8)[0], from_station=True
        ),
    }
    figures = {}
    for name, split in SETS:
        vectors, labels = features(backbone, args.shared, name, split, 20)
        for kind, cohort in cohorts.items():
            for products in (1, 3, 5, 8):
                key = f"{name}/{split}, cohort {kind}, {products} product(s)"
                figures[key] = rates(vectors, labels, cohort, products, args)
                print(key, figures[key], flush=True)
    document = {**circumstances(), "asked_false_accept_rate": args.far, "figures": figures}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "open_set.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
