"""Silent change on a line: from which size on it is told, how soon, how often in vain.

    python benchmarks/silent_change.py [--parts 10000] [--after 60] [--seeds 3]
    python benchmarks/silent_change.py --archive grocery_iconic.zip [--split train]

The rendered line with its drifting, flickering light, hands and sensor noise; or, with an archive,
its real products laid on the rendered and the striped belt, which move, in light that drifts and
flickers, with soft shadows and noise. One look a part, at the moment at which it is reported; then
each disturbance, in sizes. Scores are drawn, not measured: their median is 0.8 with a scatter of
0.1, as parts of ten products had.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
from composed_scenes import Scenes, cutouts, laid, separate
from measured import circumstances

from vision_edge.demo.conveyor import Conveyor
from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.demo.settings import ConveyorConfig
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.pipeline.scene_watch import SceneWatch

SIZE = (320, 240)
RENDERED = 150
"""Moments of the line that are rendered; more parts see them again."""
Box = tuple[int, int, int, int]
Disturbance = Callable[[Image], Image]


@lru_cache(maxsize=4)
def rendered(seed: int) -> list[tuple[Image, list[Box]]]:
    """Return `RENDERED` moments of a line without sensor noise, with the parts' boxes."""
    config = ConveyorConfig(seed=seed, width=SIZE[0], height=SIZE[1], speed=3.0, noise=0.0)
    conveyor = Conveyor(config, parts=PART_NAMES, passes=4)
    moments = np.linspace(0, len(conveyor) - 1, RENDERED).astype(int)
    shown = (conveyor[int(moment)] for moment in moments)
    return [(image, [part.bbox for part in truth.parts]) for image, truth in shown]


@lru_cache(maxsize=4)
def composed(seed: int, archive: Path, split: str) -> list[tuple[Image, list[Box]]]:
    """Return as many moments of real products on a moving belt; of odd seeds the striped one."""
    scenes, rng = Scenes(seed, rendered=seed % 2 == 0), np.random.default_rng(seed)
    pool, shown = cutouts(archive, split), []
    for number in range(RENDERED):
        chosen = rng.choice(len(pool), int(rng.integers(1, 4)), replace=False)
        parts = [laid(pool[k], rng.uniform(150, 300), rng.uniform(-90, 90)) for k in chosen]
        slow = 1 + 0.08 * math.sin(2 * math.pi * number / RENDERED)
        light = {"gain": slow * rng.normal(1, 0.02), "slope": float(rng.uniform(-0.05, 0.05))}
        image, truth = scenes.scene(separate(rng, parts, [], scenes.rail), **light)
        small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA).astype(np.uint8)
        across, down = SIZE[0] / image.shape[1], SIZE[1] / image.shape[0]
        edges = (
            (one.box[0] * across, one.box[1] * down, one.box[2] * across, one.box[3] * down)
            for one in truth
        )
        shown.append((small, [tuple(round(edge) for edge in box) for box in edges]))
    return shown  # type: ignore[return-value]


def line(
    seed: int, start: int = 0, pool: tuple[Path, str] | None = None
) -> Iterator[tuple[Image, list[Box]]]:
    """Give a look a part: the line's moments in order, each time with noise of its own."""
    moments = rendered(seed) if pool is None else composed(seed, *pool)
    rng = np.random.default_rng((seed, start))
    for number in count(start):
        image, boxes = moments[number % len(moments)]
        noise = rng.normal(0, 2.2, image.shape).astype(np.float32)
        yield np.clip(image + noise, 0, 255).astype(np.uint8), boxes


def shifted(share: float) -> Disturbance:
    """The camera is moved by so much of its shorter side."""
    matrix = np.array([[1, 0, share * SIZE[1]], [0, 1, 0.5 * share * SIZE[1]]], np.float32)

    def moved(image: Image) -> Image:
        shown = cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT)
        return shown.astype(np.uint8)

    return moved


def lit(stops: float) -> Disturbance:
    """The light is so many stops brighter."""
    return lambda image: np.clip(image * 2.0**stops, 0, 255).astype(np.uint8)


def blurred(share: float) -> Disturbance:
    """The lens is greasy: a blur of so much of the shorter side."""

    def dulled(image: Image) -> Image:
        return cv2.GaussianBlur(image, (0, 0), share * SIZE[1]).astype(np.uint8)

    return dulled


def spotted(share: float) -> Disturbance:
    """A grey spot covers so much of the picture."""
    radius = round((share * SIZE[0] * SIZE[1] / np.pi) ** 0.5)
    mask = np.zeros(SIZE[::-1], np.float32)
    cv2.circle(mask, (SIZE[0] // 3, SIZE[1] // 2), radius, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 3)[:, :, None]
    return lambda image: (image * (1 - mask) + 128 * mask).astype(np.uint8)


def covered(_: float) -> Disturbance:
    """A cap is on the lens."""
    return lambda image: (image * 0.02).astype(np.uint8)


DISTURBANCES: dict[str, tuple[Callable[[float], Disturbance], tuple[float, ...]]] = {
    "moved, of its side": (shifted, (0.005, 0.01, 0.02, 0.04, 0.08)),
    "light, in stops": (lit, (-1.0, -0.5, -0.3, 0.3, 0.5, 1.0)),
    "greasy, blur of its side": (blurred, (0.004, 0.008, 0.015, 0.03)),
    "spot, of its area": (spotted, (0.01, 0.03, 0.06, 0.12)),
    "covered": (covered, (1.0,)),
}


def watched(
    watch: SceneWatch,
    seed: int,
    begin: int,
    parts: int,
    change: Disturbance | None,
    pool: tuple[Path, str] | None,
) -> int:
    """Show so many parts; return after how many a change was told, 0 if none was."""
    rng = np.random.default_rng(begin + seed)
    for number, (image, boxes) in enumerate(islice(line(seed, begin, pool), parts), 1):
        watch.part(float(rng.normal(0.8, 0.1)))
        told = watch.look(image if change is None else change(image), float(begin + number), boxes)
        if told and watch.change is not None:
            return number
    return 0


def false_alarms(seed: int, parts: int, pool: tuple[Path, str] | None) -> tuple[int, list[str]]:
    """Return how often a change was told of a line on which none was."""
    watch, alarms = SceneWatch(), []
    rng = np.random.default_rng(seed)
    for number, (image, boxes) in enumerate(islice(line(seed, pool=pool), parts)):
        watch.part(float(rng.normal(0.8, 0.1)))
        if watch.look(image, float(number), boxes) and watch.change is not None:
            alarms.append(f"{number}: {watch.change.message}")
            watch.acknowledge()
    return len(alarms), alarms


def main() -> None:
    """Print what is told of each disturbance, and how often in vain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--after", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    pool = None if args.archive is None else (args.archive, args.split)
    print(circumstances())
    print("disturbance                 size  told  within parts  as", flush=True)
    for name, (make, sizes) in DISTURBANCES.items():
        for size in sizes:
            told, kinds = [], set()
            for seed in range(args.seeds):
                watch = SceneWatch()
                if watched(watch, seed, 0, 150, None, pool):
                    kinds.add("in vain")
                    continue
                found = watched(watch, seed, 150, args.after, make(size), pool)
                told.append(found)
                kinds.update([watch.change.kind] if watch.change else [])
            most = max(told, default=0)
            share = f"{sum(map(bool, told))}/{len(told)}"
            print(
                f"{name:26s} {size:6.3f} {share:>5s} {most:13d}  {', '.join(sorted(kinds))}",
                flush=True,
            )
    if args.parts:
        for seed in (17, 18):
            vain, alarms = false_alarms(seed, args.parts // 2, pool)
            print(f"in vain: {vain} in {args.parts // 2} parts {alarms[:5]}", flush=True)


if __name__ == "__main__":
    main()
