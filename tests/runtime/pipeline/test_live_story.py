"""The live story: ten products, a run, twenty corrections, and more is named than before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import invoked

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.generated_scenes import generated_scenes

PRODUCTS, STRANGERS, SHOWN, KEPT_ASIDE = 10, 6, 4, 5
CORRECTIONS = 20


def shot(scene: Image, seed: int) -> Image:
    """Return another picture of a scene: turned, nearer or farther, in other light, with noise."""
    rng = np.random.default_rng(seed)
    side = len(scene)
    middle = (side / 2 + rng.uniform(-25, 25), side / 2 + rng.uniform(-25, 25))
    turn = cv2.getRotationMatrix2D(middle, rng.uniform(-50, 50), rng.uniform(0.8, 2.2))
    moved = cv2.warpAffine(scene, turn, (side, side), borderMode=cv2.BORDER_REFLECT).astype(float)
    lit = moved * rng.uniform(0.6, 1.3) + rng.uniform(-25, 25) + rng.normal(0, 6, moved.shape)
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def write(folder: Path, pictures: dict[str, Image]) -> Path:
    folder.mkdir()
    for name, image in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


@pytest.fixture(scope="module")
def scenes() -> list[Image]:
    return generated_scenes(PRODUCTS + STRANGERS, 160, seed=5)


def verdicts(folder: Path, gallery: Path, out: Path, *more: str) -> dict[str, dict[str, Any]]:
    """Run over a folder with all defaults, and return each picture's verdict by its name."""
    invoked("run", asset("bundle"), folder, "--gallery", gallery, "--jsonl", out, *more)
    rows = [json.loads(row) for row in out.read_text(encoding="utf-8").splitlines()]
    return {Path(row["source"]).stem: row for row in rows}


def product(name: str) -> str:
    return name.split("-")[0]


def named_rightly(found: dict[str, dict[str, Any]]) -> int:
    return sum(row["label"] == product(name) for name, row in found.items())


@pytest.mark.parametrize("cohort", [(), ("--cohort",)], ids=["alone", "with what it saw"])
def test_corrections_make_a_station_better(
    tmp_path: Path, scenes: list[Image], cohort: tuple[str, ...]
) -> None:
    gallery, out = tmp_path / "gallery.db", tmp_path / "out.jsonl"
    shots = {
        f"p{p}-{n}": shot(scenes[p], 100 * p + n)
        for p in range(PRODUCTS)
        for n in range(1 + SHOWN + KEPT_ASIDE)
    }
    first = write(tmp_path / "first", {n: s for n, s in shots.items() if n.endswith("-0")})
    names = [f"p{p}-{n}" for p in range(PRODUCTS) for n in range(1, 1 + SHOWN)]
    line = write(tmp_path / "line", {name: shots[name] for name in names})
    later = write(
        tmp_path / "later", {n: s for n, s in shots.items() if int(n.split("-")[1]) > SHOWN}
    )
    strangers = write(
        tmp_path / "strangers",
        {f"s{s}-{n}": shot(scenes[s], 100 * s + n) for s in range(10, 16) for n in range(5)},
    )
    for number in range(PRODUCTS):
        label = f"p{number}"
        picture = first / f"{label}-0.png"
        invoked("register", asset("bundle"), label, picture, "--gallery", gallery, "--force")

    before = verdicts(later, gallery, out)
    seen = verdicts(line, gallery, out, *cohort)
    wrong = [name for name in names if seen[name]["label"] != product(name)]
    right = [name for name in names if name not in wrong]
    corrected = (wrong + right)[:CORRECTIONS]
    for label in sorted({product(name) for name in corrected}):
        pictures = [line / f"{name}.png" for name in corrected if product(name) == label]
        invoked("register", asset("bundle"), label, *pictures, "--gallery", gallery, "--force")
    after = verdicts(later, gallery, out)

    assert 0 < named_rightly(before) < named_rightly(after)
    registered = verdicts(first, gallery, out)
    assert named_rightly(registered) == PRODUCTS
    shown_again = verdicts(line, gallery, out)
    assert all(shown_again[name]["label"] == product(name) for name in corrected)
    taken = sum(row["known"] for row in verdicts(strangers, gallery, out).values())
    # Of six strangers, and 9 or 10 of their 30 pictures by the libraries' versions. What share
    # passes over many draws is in docs/explanation/scoring.md.
    assert taken <= 12
