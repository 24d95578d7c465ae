"""Is it the expected product? Right and wrong parts, and what is said of them.

    python benchmarks/verify.py --shared ../shared           # the figures: test splits
    python benchmarks/verify.py --shared ../shared --choose  # train and val: for choosing
    python benchmarks/verify.py --shared ../shared --stream 64  # after so many frames

The draws are those of `open_set.py`: P classes are registered by K snapshots each, up to as many
others are strangers. Of each draw the first `--each` products are expected, one after another:
right parts are new frames of it, wrong parts are new frames of the other products, and strangers.
Beside that stands how many right parts are identified as the product at the same asked rate.
With `--stream` a station's camera saw so many frames before, a `--share` of them of the products.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from features import Features, view_features
from measured import circumstances
from open_set import CHOOSE, RATES, TEST, Draw, Stream, draws

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

PRODUCTS, SHOTS = (1, 2, 3, 5, 8, 16), (1, 3, 5)
MOST = 60
"""Wrong parts of a kind that are tried against one expected product."""
ANSWERS = ("right", "wrong", "unsure")


def said(classifier: PrototypeClassifier, expected: str, frames: Embeddings) -> dict[str, float]:
    """Return the share of each answer, and of what is identified as the expected product."""
    decisions = classifier.verify(expected, frames)
    told = [one.verification.answer for one in decisions if one.verification is not None]
    shares = {answer: told.count(answer) / len(frames) for answer in ANSWERS}
    shares["identified"] = float(np.mean([one.label == expected for one in decisions]))
    return shares


def judged(draw: Draw, rate: float, each: int) -> list[dict[str, float]]:
    """Return the figures of each expected product of one draw."""
    names = [str(number) for number in range(len(draw.snapshots))]
    size = draw.queries.shape[1]
    seen = Cohort(np.zeros((0, size), np.float32), from_station=False, seen=draw.stream)
    classifier = PrototypeClassifier(
        names, draw.snapshots, np.zeros(size, np.float32), seen, false_accept_rate=rate
    )
    rng = np.random.default_rng(0)
    rows = []
    for number in range(min(each, len(names))):
        kinds = {
            "own": draw.queries[draw.truth == number],
            "others": rng.permutation(draw.queries[draw.truth != number])[:MOST],
            "strangers": rng.permutation(draw.strangers)[:MOST],
        }
        row = {}
        for kind, frames in kinds.items():
            if len(frames):
                shares = said(classifier, names[number], frames)
                row |= {f"{kind} {answer} at {rate:g}": share for answer, share in shares.items()}
        rows.append(row)
    return rows


def figures(
    data: Features, products: int, shots: int, count: int, each: int, stream: Stream
) -> dict[str, float] | None:
    """Return means over draws, in percent; None if there are too few classes."""
    rows = []
    for draw in draws(data, products, shots, count, stream):
        found = [judged(draw, rate, each) for rate in RATES]
        rows += [
            {key: v for row in pair for key, v in row.items()} for pair in zip(*found, strict=True)
        ]
    if not rows:
        return None
    return {key: round(100 * float(np.mean([row[key] for row in rows])), 2) for key in rows[0]}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--features", type=Path, default=Path(".out/features"))
    parser.add_argument("--model", default="plain", help="plain, or a model that DIR has")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--each", type=int, default=2, help="products of a draw that are expected")
    parser.add_argument("--stream", type=int, default=0, help="frames that the camera saw before")
    parser.add_argument("--share", type=float, default=0.5, help="of them parts of the products")
    parser.add_argument("--choose", action="store_true", help="train and val instead of test")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    stream = Stream(args.stream, args.share)
    for name, split in CHOOSE[:2] if args.choose else TEST:
        data = view_features(args.shared, args.features, args.model, name, split)
        for products in PRODUCTS:
            for shots in SHOTS:
                one = figures(data, products, shots, args.draws, args.each, stream)
                if one is not None:
                    found[key := f"{name}/{split} P={products} K={shots}"] = one
                    print(args.model, key, json.dumps(one), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    document = {**circumstances(), "draws": args.draws, "model": args.model, "figures": found}
    before = f"-stream{args.stream}-{args.share:g}" if args.stream else ""
    name = f"verify-{args.model}-{'choose' if args.choose else 'test'}{before}.json"
    (args.out / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
