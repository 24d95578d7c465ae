"""Parts that pass at every rate of looks: each reported once, or counted as missed.

    python benchmarks/part_rates.py [--parts 1000]

A belt in pixels and seconds, without pictures: parts of one size at random distances, some beside
each other, moving at one speed; looks at a rate with jitter, some of them dropped. A part is known
again by its embedding, which says its product and no more, so that equal products look alike.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.recognition.part_tracking import PartSettings, PartTracker, Sighting
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

VIEW = (1280, 720)
SIDE, SPEED = 150, 400.0
DIM, PRODUCTS = 32, 5
RATES = (30.0, 15.0, 8.0, 5.0, 3.0, 2.0, 1.0)


@dataclass
class Outcome:
    """What became of the parts: counts of parts that had at least one judged look."""

    judged: int
    once: int
    twice: int
    lost: int
    missed: int
    brief: int


def run(rate: float, count: int, seed: int = 0, drops: float = 0.1, jitter: float = 0.2) -> Outcome:
    """Return what became of `count` parts at so many looks a second."""
    rng = np.random.default_rng(seed)
    centres = np.eye(PRODUCTS, DIM, dtype=np.float32) * 10
    none = Cohort(np.zeros((0, DIM), np.float32), from_station=False)
    labels = [f"p{k}" for k in range(PRODUCTS)]
    zero = np.zeros(DIM, np.float32)
    classifier = PrototypeClassifier(labels, centres, zero, none, threshold=0.0)
    tracker = PartTracker(classifier, PartSettings())
    starts = np.cumsum(rng.uniform(0.5, 3.0, count))  # seconds at which the left edges enter
    lanes = rng.choice([100, 400], count)
    product = rng.integers(0, PRODUCTS, count)
    told: Counter[int] = Counter()
    judged: set[int] = set()
    where: dict[tuple[int, int], int] = {}
    time, frame = 0.0, 0
    while time < starts[-1] + 5:
        time += max(1e-3, rng.normal(1.0, jitter) / rate)
        frame += 1
        if rng.random() < drops:
            continue
        left = (time - starts) * SPEED - SIDE
        seen = []
        for k in np.flatnonzero((left > -SIDE + 8) & (left < VIEW[0] - 8)):
            x = int(left[k])
            box = (max(0, x), int(lanes[k]), min(VIEW[0], x + SIDE), int(lanes[k]) + SIDE)
            whole = x > 0 and x + SIDE < VIEW[0]
            vector = (centres[product[k]] + rng.normal(0, 0.5, DIM)).astype(np.float32)
            seen.append(Sighting(box, vector if whole else None))
            where[frame, box[0] + 10_000 * box[1]] = int(k)
            if whole:
                judged.add(int(k))
        for verdict in tracker.look(frame, time, seen, VIEW):
            assert verdict.box is not None
            told[where[verdict.evidence, verdict.box[0] + 10_000 * verdict.box[1]]] += 1
    for verdict in tracker.finish():
        assert verdict.box is not None
        told[where[verdict.evidence, verdict.box[0] + 10_000 * verdict.box[1]]] += 1
    once = sum(told[k] == 1 for k in judged)
    twice = sum(told[k] > 1 for k in judged)
    counts = tracker.counts
    return Outcome(
        len(judged), once, twice, len(judged) - once - twice, counts.missed, counts.brief
    )


def main() -> None:
    """Print a row a rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=1000)
    args = parser.parse_args()
    print("looks/s  judged   once  twice   lost  missed  brief")
    for rate in RATES:
        got = run(rate, args.parts)
        print(
            f"{rate:7.0f} {got.judged:7d} {got.once:6d} {got.twice:6d} {got.lost:6d} "
            f"{got.missed:7d} {got.brief:6d}"
        )


if __name__ == "__main__":
    main()
