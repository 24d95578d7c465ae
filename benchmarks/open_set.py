"""Telling products from strangers: the decision as shipped, beside plain scores.

    python benchmarks/open_set.py --shared ../shared           # the figures: test splits
    python benchmarks/open_set.py --shared ../shared --choose  # train and val: for choosing
    python benchmarks/open_set.py --features DIR               # embeddings that are there already
    python benchmarks/open_set.py --stream 100                 # with what the camera saw before

In each draw P classes are registered by K snapshots each, and up to as many others are strangers;
K `mixed` is 1 to 10, another for each product. Snapshots are the means of their crops, queries are
the one crop that a lone frame is embedded by, as in a station. With `--stream` so many frames came
before, unlabelled, a `--share` of them parts of the registered products (other pictures than those
registered and judged), the others strangers of other classes than those that judge; the same draws
are judged without them as well. Beside what is accepted at the asked rate stands what a threshold
on the score would name that lets exactly 5 % of all draws' strangers in: no station could know it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from features import Features, view_features
from measured import circumstances
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.images.crops import CROPS, FRAME_CROP
from vision_edge.runtime.recognition.bundle_calibration import ranking
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

TEST = (("grocery", "test"), ("mini_imagenet", "test"), ("neu_steel", "test"))
CHOOSE = (("grocery", "train"), ("mini_imagenet", "val"), ("mini_imagenet", "train"))
PRODUCTS, SHOTS, MOST_SHOTS = (1, 2, 3, 5, 8, 16, 50), (1, 3, 5, "mixed"), 10
QUERIES, LEAST_STRANGERS = 10, 3
STREAM_KINDS = 12
"""Stranger classes with a stream: half of them are in it, and half judge."""
FRAME = CROPS.index(FRAME_CROP)
RATES = (0.01, 0.05)
TEMPERATURE = 20.0
"""Of energy and softmax, on cosines; the best of 5, 10, 20 and 40 on train and val splits."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """Embeddings of one draw.

    Attributes:
        snapshots: Of each product, float32 (K, D).
        shown: The frames that they were made of, float32 (N', D).
        queries: New frames of the products, float32 (N, D), and `truth`, int (N,), of which.
        strangers: Frames of other classes, float32 (M, D).
        stream: What the camera saw before, float32 (S, D).
    """

    snapshots: list[Embeddings]
    shown: Embeddings
    queries: Embeddings
    truth: NDArray[np.int64]
    strangers: Embeddings
    stream: Embeddings


@dataclass(frozen=True)
class Stream:
    """What the camera saw before: so many frames, a share of them parts of the products."""

    frames: int = 0
    share: float = 0.5


def draws(
    data: Features, products: int, shots: int | str, count: int, stream: Stream
) -> Iterator[Draw]:
    """Yield random draws, the same for the same arguments; none if there are too few classes."""
    rng = np.random.default_rng([products, 0])
    kept = MOST_SHOTS if shots == "mixed" else int(shots)
    classes = [rows for rows in data.members() if len(rows) >= kept + 3]
    if len(classes) < products + LEAST_STRANGERS:
        return
    for _ in range(count):
        drawn = [rng.permutation(classes[i]) for i in rng.permutation(len(classes))]
        own, others = drawn[:products], drawn[products : 2 * max(products, LEAST_STRANGERS)]
        seen: list[NDArray[np.int64]] = []
        if stream.frames:
            others = drawn[products:][: max(products, STREAM_KINDS)]
            seen, others = others[::2], others[1::2]
        taken = [int(rng.choice([1, 1, 2, 3, 5, 10])) if shots == "mixed" else kept for _ in own]
        new = [rows[kept : kept + QUERIES] for rows in own]
        first = [rows[:k] for rows, k in zip(own, taken, strict=True)]
        yield Draw(
            [data.vectors[rows].mean(axis=1, dtype=np.float32) for rows in first],
            data.vectors[np.concatenate(first), FRAME],
            data.vectors[np.concatenate(new), FRAME],
            np.repeat(np.arange(products), [len(rows) for rows in new]),
            data.vectors[np.concatenate([rows[:QUERIES] for rows in others]), FRAME],
            data.vectors[_before(rng, stream, [r[kept + QUERIES :] for r in own], seen), FRAME],
        )


def _before(
    rng: np.random.Generator,
    stream: Stream,
    own: list[NDArray[np.int64]],
    strangers: list[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Return the rows of what the camera saw before, in the order of time."""
    if not stream.frames:
        return np.zeros(0, np.int64)
    parts = round(stream.frames * stream.share)
    shown = rng.permutation(np.concatenate(own))[:parts]
    others = rng.permutation(np.concatenate(strangers))[: stream.frames - parts]
    return rng.permutation(np.concatenate([shown, others]))


def baselines(draw: Draw) -> dict[str, float]:
    """Return the AUROC of plain scores, from -1 to 1 over mean snapshots."""
    means = np.stack([rows.mean(axis=0) for rows in draw.snapshots])
    scores: dict[str, list[Numbers]] = {"max cosine": [], "energy": [], "softmax": []}
    for frames in (draw.queries, draw.strangers):
        one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (frames, means))
        likeness = np.asarray(one @ other.T, dtype=np.float64)
        best = likeness.max(axis=1)
        total = np.exp(TEMPERATURE * (likeness - best[:, None])).sum(axis=1)
        scores["max cosine"].append(best)
        scores["energy"].append(best + np.log(total) / TEMPERATURE)
        scores["softmax"].append(1.0 / total)
    return {f"AUROC {name}": auroc(*pair) for name, pair in scores.items()}


def auroc(own: Numbers, strangers: Numbers) -> float:
    """Return the share of pairs in which the product's frame scores higher."""
    return ranking(own.astype(np.float32), strangers.astype(np.float32))


def judged(draw: Draw, cohort: Cohort) -> tuple[dict[str, float], list[Numbers]]:
    """Return the figures of one draw, and the scores of products' (-2 if wrong) and strangers'."""
    names = [str(number) for number in range(len(draw.snapshots))]
    prior = np.zeros(draw.queries.shape[1], np.float32)
    classifier = PrototypeClassifier(names, draw.snapshots, prior, cohort)
    own, strangers, again = map(classifier.classify, (draw.queries, draw.strangers, draw.shown))
    right = np.array([int(d.nearest) == t for d, t in zip(own, draw.truth, strict=True)])
    rates, passing = (np.array([d.stranger_rate for d in x], float) for x in (own, strangers))
    holders = np.repeat(np.arange(len(names)), [len(rows) for rows in draw.snapshots])
    found = {"nearest right": float(right.mean()), "AUROC": auroc(1 - rates, 1 - passing)}
    for rate in RATES:
        found[f"strangers at {rate:g}"] = float((passing <= rate).mean())
        found[f"named at {rate:g}"] = float(((rates <= rate) & right).mean())
    known = [d.label == str(h) for d, h in zip(again, holders, strict=True)]
    found["registered known"] = float(np.mean(known))
    scores = [np.array([d.score for d in x]) for x in (own, strangers)]
    return found, [np.where(right, scores[0], -2.0), scores[1]]


def compare(
    data: Features, products: int, shots: int | str, count: int, frames: int, stream: Stream
) -> dict[str, float] | None:
    """Return the figures, means over the draws, in percent; None if there are too few classes.

    Args:
        data: Embeddings of one set.
        products: P.
        shots: K, or `mixed`.
        count: How many draws.
        frames: How many of each draw's strangers are known as frames of the station; others judge.
        stream: What the camera saw before.
    """
    rows, own, others = [], [], []
    nobody = Cohort(np.zeros((0, data.vectors.shape[2]), np.float32), from_station=False)
    for draw in draws(data, products, shots, count, stream):
        cohort, judging = nobody, draw
        if frames:
            cohort, judging = with_frames(draw, data, frames)
        if stream.frames:
            cohort = replace(cohort, seen=draw.stream)
        found, scores = judged(judging, cohort)
        if stream.frames:
            without, _ = judged(judging, nobody)
            found.update({f"{key} without": value for key, value in without.items()})
        rows.append({**found, **baselines(judging)})
        own.append(scores[0])
        others.append(scores[1])
    if not rows:
        return None
    exact = np.quantile(np.concatenate(others), 1.0 - RATES[1])
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    means["named at exactly 0.05"] = float(np.mean([(x > exact).mean() for x in own]))
    return {key: round(100 * value, 2) for key, value in means.items()}


def with_frames(draw: Draw, data: Features, frames: int) -> tuple[Cohort, Draw]:
    """Make every other stranger class the station's own frames; the rest judge."""
    size = max(QUERIES, 1)
    blocks = [draw.strangers[at : at + size] for at in range(0, len(draw.strangers), size)]
    seen = np.concatenate(blocks[::2])[:frames]
    rest = np.concatenate(blocks[1::2])
    return Cohort(seen, from_station=True), replace(draw, strangers=rest)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--features", type=Path, default=Path(".out/features"))
    parser.add_argument("--model", default="plain", help="plain, or a model that DIR has")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--frames", type=int, default=0, help="strangers known as station frames")
    parser.add_argument("--stream", type=int, default=0, help="frames that the camera saw before")
    parser.add_argument("--share", type=float, default=0.5, help="of them parts of the products")
    parser.add_argument("--sets", help="comma-separated; all by default")
    parser.add_argument("--choose", action="store_true", help="train and val instead of test")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    stream = Stream(args.stream, args.share)
    for name, split in CHOOSE if args.choose else TEST:
        if args.sets and name not in args.sets.split(","):
            continue
        data = view_features(args.shared, args.features, args.model, name, split)
        for products in PRODUCTS:
            for shots in SHOTS:
                found = compare(data, products, shots, args.draws, args.frames, stream)
                if found is not None:
                    figures[key := f"{name}/{split} P={products} K={shots}"] = found
                    print(args.model, key, json.dumps(found), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    document = {**circumstances(), "draws": args.draws, "model": args.model, "figures": figures}
    kind = "choose" if args.choose else "test"
    before = f"-stream{args.stream}-{args.share:g}" if args.stream else ""
    name = f"open_set-{args.model}-{kind}-{args.frames}{before}.json"
    (args.out / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
