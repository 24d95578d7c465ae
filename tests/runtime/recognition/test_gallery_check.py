"""A gallery's own snapshots foretell it: shares, confusions, odd and mislabelled pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.recognition.gallery_check import (
    GalleryCheck,
    check_gallery,
    judge_strangers,
)
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

D = 64
ORIGIN = np.zeros(D, np.float32)
NOBODY = Cohort(np.zeros((0, D), np.float32), from_station=False)


def pictures(seed: int, classes: int, each: int, spread: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    kinds = 0.6 * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    return (kinds + spread * rng.standard_normal((classes, each, D))).astype(np.float32)


def names(count: int) -> list[str]:
    return [f"p{k}" for k in range(count)]


def check(snapshots: Any, **options: Any) -> GalleryCheck:
    return check_gallery(names(len(snapshots)), list(snapshots), ORIGIN, NOBODY, **options)


@pytest.mark.parametrize("spread", [0.8, 1.1])
@pytest.mark.parametrize("shots", [2, 3, 5])
def test_it_foretells_what_share_will_be_named(shots: int, spread: float) -> None:
    foretold, named = [], []
    for seed in range(25):
        every = pictures(seed, 8, shots + 10, spread)
        foretold.append(check(every[:, :shots]).named)
        got = PrototypeClassifier(names(8), list(every[:, :shots]), ORIGIN, NOBODY)
        for number in range(8):
            decisions = got.classify(every[number, shots:])
            named.append(np.mean([d.label == f"p{number}" for d in decisions]))
    assert abs(np.mean(foretold) - np.mean(named)) < 0.12  # type: ignore[arg-type]


def test_a_planted_wrong_label_is_found_and_few_right_ones_are_suspected() -> None:
    found, suspected, total = 0, 0, 0
    for seed in range(40):
        every = pictures(seed, 6, 5, 0.9)
        clean = check(every[:, :4])
        suspected += sum(one.mislabelled or one.odd for one in clean.snapshots)
        total += len(clean.snapshots)
        planted = list(every[:, :4])
        planted[0] = np.concatenate([planted[0][:3], every[1, 4:]])
        rows = check(planted).snapshots
        (wrong,) = (one for one in rows if (one.product, one.number) == ("p0", 3))
        found += wrong.mislabelled and wrong.nearest == "p1"
    assert found >= 38
    assert suspected < 0.03 * total


def test_lookalikes_are_named_as_a_pair() -> None:
    every = pictures(1, 5, 4, 0.8)
    every[1] = every[0, ::-1] + 0.01
    pairs = {(product, other) for product, other, _ in check(every).confusions()}
    assert ("p0", "p1") in pairs or ("p1", "p0") in pairs


def test_products_of_one_snapshot_are_told_apart_from_the_judged() -> None:
    every = pictures(1, 3, 3)
    found = check([every[0, :1], every[1], every[2]])
    assert found.lone == ["p0"]
    assert set(found.by_product()) == {"p1", "p2"}
    alone = check([every[0, :1], every[1, :1]])
    assert (alone.named, alone.confusions()) == (None, [])


def test_one_product_only_is_no_fault() -> None:
    assert check(pictures(1, 1, 1)).named is None
    assert check(pictures(1, 1, 4)).named is not None


def test_an_empty_gallery_is_said_to_be_one() -> None:
    with pytest.raises(VisionEdgeError, match="no products"):
        check([])


def test_pictures_all_but_the_same_are_foretold_as_they_are_decided() -> None:
    """Frames so near to a snapshot are known whatever strangers reach: on tidy stations all are."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(64)
    products = [
        (common + 0.5 * rng.standard_normal(64) + 0.02 * rng.standard_normal((3, 64))).astype(
            np.float32
        )
        for _ in range(2)
    ]
    origin, nobody = np.zeros(64, np.float32), Cohort(np.zeros((0, 64), np.float32), False)
    strict = check_gallery(["a", "b"], products, origin, nobody, false_accept_rate=1e-6)
    assert strict.named == 1.0
    far = check_gallery(
        ["a", "b"], products, origin, nobody, false_accept_rate=1e-6, same_picture=0.999
    )
    assert far.named == 0.0


def test_among_many_products_the_same_picture_is_known_as_whose_it_is() -> None:
    """Beyond 64 products, too; and one that another product holds is taken for that."""
    many = pictures(0, 70, 2, spread=2.0)
    many[3, 1] = many[3, 0] + 0.001
    many[5, 1] = many[9, 0] + 0.001
    found = {(one.product, one.number): one for one in check(many).snapshots}
    own, foreign = found["p3", 1], found["p5", 1]
    assert (own.nearest, own.rate) == ("p3", 0.0)
    assert (foreign.nearest, foreign.rate) == ("p9", 0.0)
    assert found["p7", 1].rate > 0.0
    strict = {(one.product, one.number): one for one in check(many, same_picture=2.0).snapshots}
    assert strict["p3", 1].rate > 0.0


def test_a_stranger_whose_picture_is_registered_is_let_in() -> None:
    products = pictures(1, 3, 2, spread=2.0)
    asked = np.stack([products[1, 0] + 0.001, pictures(2, 1, 1)[0, 0]])
    same, other = judge_strangers(names(3), list(products), ORIGIN, NOBODY, asked)
    assert (same.nearest, same.rate) == ("p1", 0.0)
    assert other.rate > 0.0
