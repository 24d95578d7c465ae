"""Parts that pass at every rate of looks: each reported once, or counted as missed.

    python benchmarks/part_rates.py [--parts 1000] [--seeds 1] [--speeds 400] [--drops 0.1]

A belt in pixels and seconds, without pictures: parts of one size at random distances, some beside
each other, moving at one speed; looks at a rate with jitter, some of them dropped. A part is known
again by its embedding, which says its product and no more, so that equal products look alike. As
in a run, a part that is reported is not embedded again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.recognition.part_consensus import Box, PartVerdict
from vision_edge.runtime.recognition.part_tracking import PartSettings, PartTracker, Sighting
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

VIEW = (1280, 720)
SIDE = 150
LANES = (100, 400)
DIM, PRODUCTS = 32, 5
RATES = (30.0, 15.0, 8.0, 5.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True)
class Belt:
    """What passes, and how it is looked at.

    Attributes:
        rate: Looks a second, before drops.
        count: Parts.
        seed: Of everything that is random.
        speed: Pixels a second.
        drops: Share of the looks that are lost.
        jitter: Standard deviation of the time between looks, as a share of it.
    """

    rate: float
    count: int
    seed: int = 0
    speed: float = 400.0
    drops: float = 0.1
    jitter: float = 0.2


@dataclass
class Outcome:
    """What became of the parts.

    Attributes:
        judged: Parts that were wholly in view in one look at least.
        once: Of those, parts reported once.
        twice: Parts reported more than once.
        lost: Of those judged, parts neither reported nor counted as missed.
        missed: Parts counted as missed, the never judged ones included.
        brief: Things counted as too brief to be parts.
    """

    judged: int
    once: int
    twice: int
    lost: int
    missed: int
    brief: int


@dataclass(frozen=True)
class Shown:
    """One part in one look: which it is, and where; `whole` if none of it is out of view."""

    part: int
    product: int
    box: Box
    whole: bool


def looks(belt: Belt) -> Iterator[tuple[int, float, list[Shown]]]:
    """Give each look's number, time in seconds and parts."""
    rng = np.random.default_rng(belt.seed)
    gap = 400.0 / belt.speed
    starts = np.cumsum(rng.uniform(0.5 * gap, 3.0 * gap, belt.count))
    lanes, products = rng.choice(LANES, belt.count), rng.integers(0, PRODUCTS, belt.count)
    time, frame = 0.0, 0
    while time < starts[-1] + 2000 / belt.speed:
        time += max(1e-3, rng.normal(1.0, belt.jitter) / belt.rate)
        frame += 1
        if rng.random() < belt.drops:
            continue
        left = (time - starts) * belt.speed - SIDE
        seen = []
        for k in np.flatnonzero((left > -SIDE + 8) & (left < VIEW[0] - 8)):
            x, y = int(left[k]), int(lanes[k])
            box = (max(0, x), y, min(VIEW[0], x + SIDE), y + SIDE)
            seen.append(Shown(int(k), int(products[k]), box, x > 0 and x + SIDE < VIEW[0]))
        yield frame, time, seen


def run(belt: Belt) -> Outcome:
    """Return what became of the parts of a belt."""
    rng = np.random.default_rng(belt.seed + 1)
    centres = np.eye(PRODUCTS, DIM, dtype=np.float32) * 10
    tracker = PartTracker(_classifier(centres), PartSettings())
    told: Counter[int] = Counter()
    judged: set[int] = set()
    where: dict[tuple[int, Box], int] = {}

    def note(verdicts: list[PartVerdict]) -> None:
        for verdict in verdicts:
            assert verdict.box is not None
            told[where[verdict.evidence, verdict.box]] += 1

    for frame, time, shown in looks(belt):
        needed = tracker.needs([one.box for one in shown], time)
        seen = []
        for one, wanted in zip(shown, needed, strict=True):
            vector = (centres[one.product] + rng.normal(0, 0.5, DIM)).astype(np.float32)
            seen.append(Sighting(one.box, vector if one.whole and wanted else None))
            where[frame, one.box] = one.part
            judged.update([one.part] if one.whole else [])
        note(tracker.look(frame, time, seen, VIEW))
    note(tracker.finish())
    counts = tracker.counts
    once, twice = (sum(test(told[k]) for k in judged) for test in (_is_one, _is_more))
    never = belt.count - len(judged)
    lost = max(0, len(judged) - once - twice - max(0, counts.missed - never))
    return Outcome(len(judged), once, twice, lost, counts.missed, counts.brief)


def _classifier(centres: np.ndarray) -> PrototypeClassifier:
    none = Cohort(np.zeros((0, DIM), np.float32), from_station=False)
    labels = [f"p{k}" for k in range(PRODUCTS)]
    return PrototypeClassifier(labels, centres, np.zeros(DIM, np.float32), none, threshold=0.0)


def _is_one(count: int) -> bool:
    return count == 1


def _is_more(count: int) -> bool:
    return count > 1


def main() -> None:
    """Print a row a rate, and speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--speeds", type=float, nargs="+", default=(400.0,))
    parser.add_argument("--drops", type=float, default=0.1)
    parser.add_argument("--jitter", type=float, default=0.2)
    args = parser.parse_args()
    print("looks/s  pixels/s  seed  judged   once  twice   lost  missed  brief", flush=True)
    for rate in args.rates:
        for speed in args.speeds:
            for seed in range(args.seeds):
                got = run(Belt(rate, args.parts, seed, speed, args.drops, args.jitter))
                print(
                    f"{rate:7.0f} {speed:9.0f} {seed:5d} {got.judged:7d} {got.once:6d} "
                    f"{got.twice:6d} {got.lost:6d} {got.missed:7d} {got.brief:6d}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
