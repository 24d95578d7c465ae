"""How well `gallery check` foretells what will be named, and finds wrong labels.

    python benchmarks/gallery_check.py --shared ../shared            # test splits, once
    python benchmarks/gallery_check.py --shared ../shared --choose   # train and val

In each draw P products are registered by K snapshots; the share named rightly that the check
foretells is compared with what is named of 10 other frames a product. Then one snapshot gets the
label of another registered product: is it the one that is suspected, and is any other?
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from features import view_features
from measured import circumstances
from open_set import CHOOSE, TEST, Draw, Stream, draws

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.gallery_check import check_gallery
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

PRODUCTS, SHOTS = (3, 5, 8, 16), (3, 5)


def foretold(draw: Draw, cohort: Cohort) -> tuple[float, float]:
    """Return the share named rightly that the check foretells, and that there is."""
    names = [str(number) for number in range(len(draw.snapshots))]
    prior = np.zeros(draw.queries.shape[1], np.float32)
    told = check_gallery(names, draw.snapshots, prior, cohort).named
    assert told is not None
    classifier = PrototypeClassifier(names, draw.snapshots, prior, cohort)
    decided = classifier.classify(draw.queries)
    right = [d.label == names[t] for d, t in zip(decided, draw.truth, strict=True)]
    return told, float(np.mean(right))


def planted(draw: Draw, cohort: Cohort, rng: np.random.Generator) -> tuple[bool, int, int]:
    """Give one snapshot another product's label.

    Returns:
        Whether it is suspected, how many others are, and how many others there are.
    """
    source, target = rng.choice(len(draw.snapshots), 2, replace=False)
    row = int(rng.integers(len(draw.snapshots[target])))
    frames = draw.queries[draw.truth == source]
    wrong = frames[int(rng.integers(len(frames)))]
    snapshots: list[Embeddings] = [rows.copy() for rows in draw.snapshots]
    snapshots[target][row] = wrong
    names = [str(number) for number in range(len(snapshots))]
    found = check_gallery(names, snapshots, np.zeros(len(wrong), np.float32), cohort).snapshots
    suspected = {(one.product, one.number) for one in found if one.mislabelled}
    one = (names[target], row)
    return one in suspected, len(suspected - {one}), len(found) - 1


def figures(
    features: Path, shared: Path, model: str, which: tuple[str, str], count: int, stream: Stream
) -> dict[str, dict[str, float]]:
    """Return the figures of one set, in percent."""
    data = view_features(shared, features, model, *which)
    result: dict[str, dict[str, float]] = {}
    for products in PRODUCTS:
        for shots in SHOTS:
            rng = np.random.default_rng([products, shots])
            pairs, plants = [], []
            for draw in draws(data, products, shots, count, stream):
                empty = np.zeros((0, draw.queries.shape[1]), np.float32)
                cohort = Cohort(empty, from_station=False, seen=draw.stream)
                pairs.append(foretold(draw, cohort))
                plants.append(planted(draw, cohort, rng))
            if not pairs:
                continue
            told, real = np.array(pairs).T
            hit, others, total = np.array(plants, float).T
            found = {
                "foretold": told.mean(),
                "named": real.mean(),
                "off by": abs(told.mean() - real.mean()),
                "off by in one draw": np.abs(told - real).mean(),
                "wrong labels found": hit.mean(),
                "right labels suspected": others.sum() / total.sum(),
            }
            key = f"{'/'.join(which)} P={products} K={shots}"
            result[key] = {name: round(100 * float(value), 2) for name, value in found.items()}
            print(model, key, json.dumps(result[key]), flush=True)
    return result


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--features", type=Path, default=Path(".out/features"))
    parser.add_argument("--model", default="plain", help="plain, or a model that DIR has")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--stream", type=int, default=0, help="frames that the camera saw before")
    parser.add_argument("--choose", action="store_true", help="train and val instead of test")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for which in CHOOSE if args.choose else TEST:
        stream = Stream(args.stream)
        found |= figures(args.features, args.shared, args.model, which, args.draws, stream)
    args.out.mkdir(parents=True, exist_ok=True)
    document = {**circumstances(), "draws": args.draws, "model": args.model, "figures": found}
    kind = "choose" if args.choose else "test"
    path = args.out / f"gallery_check-{args.model}-{kind}-stream{args.stream}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
