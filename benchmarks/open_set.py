"""Telling products from strangers: ours against maximum cosine, energy and softmax scores.

    python benchmarks/open_set.py --shared ../shared           # the figures: test splits
    python benchmarks/open_set.py --shared ../shared --choose  # train and val: for choosing

In each draw P classes are registered by one snapshot each, and as many others are strangers.
The baselines get the very threshold that accepts the asked share of strangers, which no station
could know; ours must find its own. The cohort is either generated scenes, as a bundle has them by
default, or 600 images of mini_imagenet's train classes, which no draw of the figures contains.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from features import Features, features, vit_tiny_session
from measured import circumstances
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

TEST = (("grocery", "test", 8), ("mini_imagenet", "test", 10), ("neu_steel", "test", 3))
CHOOSE = (("grocery", "train", 8), ("mini_imagenet", "val", 8), ("grocery", "train", 3))
QUERIES = 10
RATES = (0.01, 0.05)
CURVE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
TEMPERATURE = 20.0
"""Of energy and softmax, on cosines; the best of 5, 10, 20 and 40 on train and val splits."""
Numbers = NDArray[np.float64]
Score = Callable[["Draw"], tuple[Numbers, Numbers]]


@dataclass(frozen=True)
class Draw:
    """Embeddings of one draw: snapshots (P, D), queries (N, D) with their products, strangers."""

    snapshots: Embeddings
    queries: Embeddings
    truth: NDArray[np.int64]
    strangers: Embeddings


def draws(data: Features, products: int, count: int) -> Iterator[Draw]:
    """Yield random draws, the same for the same arguments."""
    rng = np.random.default_rng(0)
    classes = np.unique(data.labels)
    for _ in range(count):
        drawn = rng.permutation(classes)[: 2 * products]
        shuffled = [rng.permutation(np.flatnonzero(data.labels == label)) for label in drawn]
        own = [images[1 : 1 + QUERIES] for images in shuffled[:products]]
        yield Draw(
            data.vectors[[images[0] for images in shuffled[:products]]],
            data.vectors[np.concatenate(own)],
            np.repeat(np.arange(products), [len(images) for images in own]),
            data.vectors[np.concatenate([images[:QUERIES] for images in shuffled[products:]])],
        )


def auroc(products: Numbers, strangers: Numbers) -> float:
    """Return the share of pairs in which the product's image scores higher; ties count half."""
    order = np.sort(strangers)
    below = np.searchsorted(order, products, "left") + np.searchsorted(order, products, "right")
    return float(below.mean() / (2 * len(strangers)))


def cosines(prototypes: Embeddings, queries: Embeddings) -> Numbers:
    """Return plain cosine similarities, (N, P)."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, prototypes))
    return np.asarray(one @ other.T, dtype=np.float64)


def baseline(kind: str, prototypes: Embeddings, queries: Embeddings) -> tuple[Numbers, Numbers]:
    """Return a baseline's score and nearest product of each query."""
    similar = cosines(prototypes, queries)
    nearest, best = similar.argmax(axis=1).astype(np.float64), similar.max(axis=1)
    total = np.exp(TEMPERATURE * (similar - best[:, None])).sum(axis=1)
    scores = {
        "max cosine": best,
        "energy": best + np.log(total) / TEMPERATURE,
        "softmax": 1.0 / total,
    }
    return scores[kind], nearest


def ours(draw: Draw, queries: Embeddings, cohort: Cohort) -> tuple[Numbers, Numbers]:
    """Return one minus the stranger rate, and the nearest product, of each query."""
    names = [str(index) for index in range(len(draw.snapshots))]
    prior = cohort.embeddings.mean(axis=0)
    classifier = PrototypeClassifier(names, draw.snapshots, prior, cohort)
    decisions = classifier.classify(queries)
    rates = np.array([decision.stranger_rate for decision in decisions], dtype=np.float64)
    return 1.0 - rates, np.array([float(decision.nearest) for decision in decisions])


def judge(
    products: tuple[Numbers, Numbers], truth: NDArray[np.int64], strangers: Numbers, own: bool
) -> dict[str, float]:
    """Return AUROC, and what is accepted at the asked rates, of one draw."""
    scores, nearest = products
    found = {"auroc": auroc(scores, strangers)}
    for rate in RATES:
        limit = 1.0 - rate if own else float(np.quantile(strangers, 1.0 - rate))
        accepted = scores >= limit if own else scores > limit
        passing = strangers >= limit if own else strangers > limit
        found[f"far@{rate:g}"] = float(passing.mean())
        found[f"tar@{rate:g}"] = float((accepted & (nearest == truth)).mean())
        exact = float(np.quantile(strangers, 1.0 - rate))
        found[f"tar at exactly {rate:g}"] = float(((scores > exact) & (nearest == truth)).mean())
    return found


def compare(
    data: Features, products: int, count: int, cohorts: dict[str, Cohort]
) -> dict[str, dict[str, float]]:
    """Return the figures of every method, means over the draws, in percent."""
    rows: dict[str, list[dict[str, float]]] = {}
    for draw in draws(data, products, count):
        for kind in ("max cosine", "energy", "softmax"):
            scored = baseline(kind, draw.snapshots, draw.queries)
            strangers, _ = baseline(kind, draw.snapshots, draw.strangers)
            rows.setdefault(kind, []).append(judge(scored, draw.truth, strangers, own=False))
        for name, cohort in cohorts.items():
            scored, (strangers, _) = (ours(draw, x, cohort) for x in (draw.queries, draw.strangers))
            row = judge(scored, draw.truth, strangers, own=True)
            row |= {f"strangers within {r:g}": float((1 - strangers <= r).mean()) for r in CURVE}
            rows.setdefault(f"ours, cohort {name}", []).append(row)
    return {name: _mean_percent(found) for name, found in rows.items()}


def _mean_percent(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(100 * float(np.mean([row[key] for row in rows])), 2) for key in rows[0]}


def cohorts(shared: Path, cache: Path) -> dict[str, Cohort]:
    """Return the impostors: generated scenes, and public images with and without step 1."""
    bundle = vit_tiny_session(shared, cache).bundle
    public = features(shared, cache, "mini_imagenet", "train", 20).vectors
    chosen = np.random.default_rng(0).permutation(len(public))[:600]
    return {
        "generated": Cohort(bundle.cohort, from_station=False, photographs=False),
        "public": Cohort(public[chosen], from_station=False),
        "public, not normalised by it": Cohort(public[chosen], False, photographs=False),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".out/features"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--choose", action="store_true", help="train and val instead of test")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    impostors = cohorts(args.shared, args.cache)
    figures = {}
    for name, split, products in CHOOSE if args.choose else TEST:
        data = features(args.shared, args.cache, name, split, 40 if args.choose else 10_000)
        key = f"{name}/{split}, {products} products, {products} strangers"
        figures[key] = compare(data, products, args.draws, impostors)
        print(key, json.dumps(figures[key], indent=2), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    document = {**circumstances(), "draws": args.draws, "figures": figures}
    name = "open_set_choose.json" if args.choose else "open_set.json"
    (args.out / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
