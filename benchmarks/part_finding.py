"""How many parts are found and named: eight in view, four of them touching, strangers among them.

    python benchmarks/part_finding.py --archive grocery_iconic.zip [--split train] [--scenes 60]

Products are cut out of their white background and laid on a moving belt in changing light. Each
registered product has one snapshot, taken of it alone. Found: with an intersection over union of
at least 0.5. Named rightly: a registered product by its name, a stranger as unknown; beside it the
same for products that lie alone. Then one part of 5 to 90 % of the view, and the time a frame
against one batched inference of the same crops.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from composed_scenes import SIZE, Cutout, Lying, Scenes, boxes_of, cutouts, laid, separate, touching
from measured import circumstances

from vision_edge.runtime import (
    Presence,
    PrototypeClassifier,
    load_bundle,
    open_session,
    prepare,
)
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.locating import EmptyScene, Found
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.recognition.part_motion import iou
from vision_edge.runtime.recognition.strangers import Cohort

STRANGERS = 3
SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)


@dataclass
class Tally:
    """Parts, how many of them were found, and how many named rightly."""

    parts: int = 0
    found: int = 0
    right: int = 0
    extra: int = 0
    worst: list[str] = field(default_factory=list)

    def add(
        self,
        truth: Sequence[Lying],
        found: Sequence[Found],
        labels: Sequence[str | None],
        known: Sequence[str],
    ) -> None:
        """Count one scene."""
        self.parts += len(truth)
        used = set()
        for lying in truth:
            overlaps = [iou(lying.box, one.box) for one in found]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best < 0 or overlaps[best] < 0.5:
                self.worst.append(lying.label)
                continue
            used.add(best)
            self.found += 1
            expected = lying.label if lying.label in known else None
            self.right += bool(labels) and labels[best] == expected
        self.extra += len(found) - len(used)

    def line(self, name: str) -> str:
        """Return a row of the table."""
        found, right = 100 * self.found / max(self.parts, 1), 100 * self.right / max(self.found, 1)
        return f"{name:34s} {self.parts:6d} {found:7.1f} % {right:7.1f} % {self.extra:6d}"


def drawn(rng: np.random.Generator, pool: Sequence[Cutout], count: int) -> list[Cutout]:
    """Draw different products, each in a pose of its own."""
    chosen = rng.choice(len(pool), count, replace=False)
    return [laid(pool[k], rng.uniform(150, 205), rng.uniform(-20, 20)) for k in chosen]


def registered(
    session: Session,
    scenes: Scenes,
    presence: Presence,
    products: Sequence[Cutout],
    rng: np.random.Generator,
) -> PrototypeClassifier:
    """Register one snapshot of each product: found on the belt, alone."""
    vectors = []
    for product in products:
        part = laid(product, 190, 0)
        placed = separate(rng, [part], [], scenes.rail)
        image, truth = scenes.scene(placed)
        found = presence.find(image)
        if found is None or iou(found.box, truth[0].box) <= 0.5:
            found = Found(truth[0].box, True)
        vectors.append(embed_snapshot(session, crop_alone(image, found, [], presence.scene)))
    cohort = Cohort(session.bundle.cohort, from_station=False)
    prior = cohort.embeddings.mean(axis=0)
    return PrototypeClassifier([p.label for p in products], np.stack(vectors), prior, cohort)


def named(
    session: Session,
    classifier: PrototypeClassifier,
    image: Image,
    found: Sequence[Found],
    scene: EmptyScene,
) -> list[str | None]:
    """Name all that was found, embedded together."""
    if not found:
        return []
    crops = [
        prepare(
            cropped(crop_alone(image, one, found, scene), FRAME_CROP),
            session.spec,
        )
        for one in found
    ]
    return [d.label for d in classifier.classify(session.embed(np.stack(crops)))]


def crowded(
    rng: np.random.Generator, pool: Sequence[Cutout], rail: int
) -> list[tuple[Cutout, int, int]]:
    """Return eight placed parts, four of them touching."""
    while True:
        parts = drawn(rng, pool, 8)
        row = touching(rng, parts[:4], rail)
        if len(row) < 4:
            continue
        others = separate(rng, parts[4:], boxes_of(row), rail)
        if len(others) == 4:
            return row + others


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--names", action="store_true", help="embed and name what is found, too")
    parser.add_argument("--show", type=Path, help="write scenes with missed parts here")
    args = parser.parse_args()
    pool = cutouts(args.archive, args.split)
    session = open_session(load_bundle(asset("bundle")), "cpu") if args.names else None
    print(f"{len(pool)} products of {args.split}; {circumstances()}")
    print(f"{'':34s} {'parts':>6s} {'found':>9s} {'named':>9s} {'extra':>6s}")
    for rendered in (True, False):
        belt = "rendered belt" if rendered else "striped belt"
        run_crowds(args, pool, session, rendered, belt)
        run_sizes(args, pool, rendered, belt)
    if session is not None:
        timing(session, pool)


def run_crowds(
    args: argparse.Namespace, pool: list[Cutout], session: Session | None, rendered: bool, belt: str
) -> None:
    """Eight in view, then the same products alone."""
    rng = np.random.default_rng(5)
    tallies = {name: Tally() for name in ("eight in view", "of these touching", "alone")}
    for number in range(args.scenes):
        if number % 10 == 0:
            scenes = Scenes(number, rendered=rendered)
            empty = scenes.empty()
            subset = [pool[k] for k in rng.permutation(len(pool))[: min(len(pool), 16)]]
            known = subset[STRANGERS:] if len(subset) > 8 else subset
            classifier = (
                None
                if session is None
                else registered(session, scenes, Presence(empty), known, rng)
            )
            names = [k.label for k in known]
        placed = crowded(rng, subset, scenes.rail)
        light = {"gain": float(rng.uniform(0.85, 1.15)), "slope": float(rng.uniform(-0.08, 0.08))}
        image, truth = scenes.scene(placed, **light)
        presence = Presence(empty)
        found = presence.find_all(image)
        labels = (
            [] if classifier is None else named(session, classifier, image, found, presence.scene)
        )
        missed = tallies["eight in view"].found + len(truth)
        tallies["eight in view"].add(truth, found, labels, names)
        tallies["of these touching"].add(truth[:4], found, labels, names)
        if args.show and tallies["eight in view"].found < missed:
            show(args.show / f"{belt.split()[0]}-{number}.jpg", image, truth, found)
        for part in placed:
            image, truth = scenes.scene([part], **light)
            presence = Presence(empty)
            found = presence.find_all(image)
            labels = (
                []
                if classifier is None
                else named(session, classifier, image, found, presence.scene)
            )
            tallies["alone"].add(truth, found, labels, names)
    for name, tally in tallies.items():
        print(tally.line(f"{belt}, {name}"))


def run_sizes(args: argparse.Namespace, pool: list[Cutout], rendered: bool, belt: str) -> None:
    """One part of each size, wholly in view."""
    rng = np.random.default_rng(6)
    for share in SHARES:
        tally = Tally()
        for number in range(args.scenes):
            if number % 10 == 0:
                scenes = Scenes(number, rendered=rendered)
                empty = scenes.empty()
                rail = scenes.rail if share < 0.7 else 6
            part = laid(pool[int(rng.integers(len(pool)))], share * SIZE[1], 0)
            h, w = part.cover.shape
            x = int(rng.integers(14, max(15, SIZE[0] - w - 14)))
            y = int(rng.integers(rail + 6, max(rail + 7, SIZE[1] - rail - h - 6)))
            image, truth = scenes.scene(
                [(part, x, y)],
                gain=float(rng.uniform(0.85, 1.15)),
                slope=float(rng.uniform(-0.08, 0.08)),
            )
            found = Presence(empty).find_all(image)
            before = tally.found
            tally.add(truth, found, [], [])
            if args.show and tally.found == before:
                show(args.show / f"{belt.split()[0]}-{share}-{number}.jpg", image, truth, found)
        print(tally.line(f"{belt}, one part of {100 * share:.0f} %"))


def timing(session: Session, pool: list[Cutout]) -> None:
    """Print milliseconds a frame against one batched inference of the same crops."""
    rng = np.random.default_rng(9)
    scenes = Scenes(1)
    presence = Presence(scenes.empty())
    frames = [scenes.scene(crowded(rng, pool, scenes.rail))[0] for _ in range(12)]
    rows = []
    for image in frames * 2:
        a = time.perf_counter()
        found = presence.find_all(image)
        b = time.perf_counter()
        crops = np.stack(
            [
                prepare(
                    cropped(crop_alone(image, f, found, presence.scene), FRAME_CROP),
                    session.spec,
                )
                for f in found
            ]
        )
        c = time.perf_counter()
        session.embed(crops)
        d = time.perf_counter()
        rows.append((b - a, c - b, d - c, len(found)))
    found, cut, embedded, count = 1000 * np.median(rows[4:], axis=0)
    print(
        f"1280x720, {count / 1000:.0f} parts: finding {found:.1f} ms, cutting out {cut:.1f} ms, "
        f"one batched inference {embedded:.1f} ms"
    )


def show(path: Path, image: Image, truth: Sequence[Lying], found: Sequence[Found]) -> None:
    """Write a scene with its truth (green) and what was found (red)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = image.copy()
    for lying in truth:
        cv2.rectangle(picture, lying.box[:2], lying.box[2:], (0, 220, 0), 2)
    for one in found:
        cv2.rectangle(picture, one.box[:2], one.box[2:], (0, 0, 255), 2)
    cv2.imwrite(str(path), picture)


if __name__ == "__main__":
    main()
