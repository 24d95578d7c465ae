"""Find the weights by which touching parts are cut: `images/touching.py`.

    python benchmarks/touching_weights.py --archive grocery_iconic.zip [--scenes 300]

Rows of two to four touching products of the train split, and rows of rendered machine parts, on
two belts; and parts alone. A possible cut is right if every part lies on one side of it. A network
of eight hidden units on what speaks for each cut gives the weights; they are printed with how often
the best cut of an outline is right.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
from composed_scenes import SIZE, Cutout, Scenes, cutouts, laid, separate, touching

from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.demo.sprites import part_sprite
from vision_edge.runtime.images import part_outlines
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.touching import Cut, possible_cuts


def machine_parts(rng: np.random.Generator, count: int) -> list[Cutout]:
    """Return rendered machine parts, each in a pose of its own."""
    found = []
    for label in rng.permutation(PART_NAMES)[:count]:
        sprite = part_sprite(str(label), int(rng.integers(190, 240)), rng)
        canvas = np.full((*sprite.cover.shape, 3), 46, np.uint8)
        sprite.blend(canvas, 0, 0)
        x0, y0, x1, y1 = sprite.box
        found.append(Cutout(str(label), canvas[y0:y1, x0:x1], sprite.cover[y0:y1, x0:x1]))
    return found


def samples(archive: Path, scenes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (n, 13), whether each cut is right (n,), and which outline it is of (n,)."""
    pool = cutouts(archive, "train")
    rng = np.random.default_rng(0)
    rows: list[np.ndarray] = []
    right: list[bool] = []
    outline_of: list[int] = []
    outlines = 0
    for number in range(scenes):
        scene = Scenes(number % 7, rendered=number % 2 == 0)
        count = int(rng.integers(1, 5))
        if number % 3 == 0:
            parts = machine_parts(rng, count)
        else:
            chosen = rng.choice(len(pool), count, replace=False)
            parts = [laid(pool[k], rng.uniform(110, 230), rng.uniform(-180, 180)) for k in chosen]
        placed = (
            touching(rng, parts, scene.rail) if count > 1 else separate(rng, parts, [], scene.rail)
        )
        if not placed:
            continue
        image, _ = scene.scene(placed, gain=float(rng.uniform(0.85, 1.15)))
        for owner, cuts in offered(scene, image, placed):
            for cut in cuts:
                rows.append(cut.features)
                right.append(between(cut, owner))
                outline_of.append(outlines)
            outlines += 1
    return np.array(rows), np.array(right), np.array(outline_of)


def offered(
    scene: Scenes, image: np.ndarray, placed: list[tuple[Cutout, int, int]]
) -> list[tuple[np.ndarray, list[Cut]]]:
    """Return the cuts that each outline in a picture offers, with whose pixels are whose there."""
    owner = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for k, (part, x, y) in enumerate(placed, 1):
        h, w = part.cover.shape
        owner[y : y + h, x : x + w][part.cover > 0.5] = k
    owner = cv2.resize(owner, (SIZE[0] // 2, SIZE[1] // 2), interpolation=cv2.INTER_NEAREST)
    seen: list[tuple[np.ndarray, list[Cut]]] = []
    parts_of = Presence._parts
    corner = [0, 0]

    def spied(outline, ground, least):  # type: ignore[no-untyped-def]
        pieces = [outline]
        height, width = ground.edges.shape
        view = owner[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
        while pieces:  # cut as truth would, to see what is offered below
            cuts = possible_cuts(pieces.pop(), ground, least)
            seen.append((view, cuts))
            good = [cut for cut in cuts if between(cut, view)]
            if good:
                pieces += max(good, key=lambda cut: cut.features[3] - 0.2 * cut.features[0]).pieces
        return [outline]

    def placed_parts(self, fine, region, mask, level):  # type: ignore[no-untyped-def]
        corner[:] = [part_outlines.FINE * max(0, value - 3) for value in region[:2]]
        return parts_of(self, fine, region, mask, level)

    with (
        patch.object(Presence, "_parts", placed_parts),
        patch.object(part_outlines, "taken_apart", spied),
    ):
        Presence(scene.empty()).find_all(image)
    return seen


def between(cut: Cut, owner: np.ndarray) -> bool:
    """Whether each part lies on one side of a cut, and there is one on both."""
    sides = []
    for piece in cut.pieces:
        mask = np.zeros(owner.shape, np.uint8)
        cv2.drawContours(mask, [piece], -1, 1, cv2.FILLED)
        sides.append(np.bincount(owner[mask > 0], minlength=6)[1:6])
    both = np.maximum(sides[0] + sides[1], 1)
    present = (sides[0] + sides[1]) > 60
    share = np.maximum(sides[0], sides[1]) / both
    mine = [((side / both) > 0.5) & present for side in sides]
    return bool((share[present] > 0.88).all() and mine[0].any() and mine[1].any())


def fitted(
    features: np.ndarray, right: np.ndarray, outline: np.ndarray, hidden: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return the weights of a network of one hidden layer, on features as they are."""
    import torch

    torch.manual_seed(0)
    mean, spread = features.mean(0), features.std(0)
    x = torch.tensor((features - mean) / spread, dtype=torch.float32)
    y = torch.tensor(right, dtype=torch.float32)
    share = torch.tensor(1 / np.sqrt(np.bincount(outline)[outline]), dtype=torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)
    )
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=3e-2)
    for _ in range(600):
        optimiser.zero_grad()
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            net(x)[:, 0], y, reduction="none"
        )
        loss = (each * share).sum() / share.sum()
        loss.backward()
        optimiser.step()
    first, last = net[0], net[2]
    weights = first.weight.detach().numpy() / spread
    bias = first.bias.detach().numpy() - weights @ mean
    return weights, bias, last.weight.detach().numpy()[0], float(last.bias.detach())


def main() -> None:
    """Print the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=300)
    args = parser.parse_args()
    features, right, outline = samples(args.archive, args.scenes)
    weights, bias, out, constant = fitted(features, right, outline)
    print(f"{len(right)} cuts, {right.mean():.2f} of them right, of {outline.max() + 1} outlines")
    for name, value in (("HIDDEN", weights), ("BIAS", bias), ("OUT", out), ("CONSTANT", constant)):
        print(name, "=", np.array2string(np.asarray(value), precision=3, separator=", "))
    worth = np.tanh(features @ weights.T + bias) @ out + constant
    tallies = {"cut rightly": 0, "cut wrongly": 0, "left whole rightly": 0, "missed": 0}
    for k in np.unique(outline):
        mine = outline == k
        best = int(worth[mine].argmax())
        if worth[mine][best] > 0:
            tallies["cut rightly" if right[mine][best] else "cut wrongly"] += 1
        else:
            tallies["missed" if right[mine].any() else "left whole rightly"] += 1
    print(tallies)


if __name__ == "__main__":
    main()
