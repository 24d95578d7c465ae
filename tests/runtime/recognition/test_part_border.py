"""What lies cut off at the border is no part that was missed; what passes along it is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vision_edge.runtime.recognition.part_border import BorderTrack
from vision_edge.runtime.recognition.part_consensus import Box
from vision_edge.runtime.recognition.part_tracking import PartCounts, PartTracker, Sighting
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

VIEW, SIDE, DIM = (1280, 720), 200, 8


def counted(boxes: Sequence[Box | None], rate: float, view: tuple[int, int] = VIEW) -> PartCounts:
    """Follow what is never wholly in view: its box in each look, None where it is away."""
    none = Cohort(np.zeros((0, DIM), np.float32), from_station=False)
    zero = np.zeros(DIM, np.float32)
    tracker = PartTracker(
        PrototypeClassifier(["a"], np.eye(1, DIM, dtype=np.float32), zero, none, threshold=0)
    )
    for frame, box in enumerate(boxes):
        tracker.look(frame, frame / rate, [] if box is None else [Sighting(box)], view)
    assert tracker.finish() == []
    return tracker.counts


def mirrored(box: Box, border: int, view: tuple[int, int] = VIEW) -> Box:
    """Turn a box at the left border to another one: 0 left, 1 top, 2 right, 3 bottom."""
    x0, y0, x1, y1 = box
    if border in (1, 3):
        x0, y0, x1, y1 = y0, x0, y1, x1
    if border == 2:
        x0, x1 = view[0] - x1, view[0] - x0
    if border == 3:
        y0, y1 = view[1] - y1, view[1] - y0
    return x0, y0, x1, y1


@pytest.mark.parametrize("rate", [2, 10, 30])
@pytest.mark.parametrize("border", [0, 1, 2, 3])
def test_what_rests_at_a_border_is_not_missed(border: int, rate: int) -> None:
    """The next part of a belt that stands, its outline a little different in every look."""
    shaken = np.random.default_rng(border).integers(-4, 5, (10 * rate, 3))
    boxes = [mirrored((0, 300 + int(a), 90 + int(b), 500 + int(c)), border) for a, b, c in shaken]
    counts = counted([*boxes, *[None] * 3 * rate], rate)
    assert (counts.missed, counts.cut_off, counts.brief) == (0, 1, 0)


@pytest.mark.parametrize("rate", [5, 30])
def test_what_reaches_in_and_draws_back_is_not_missed(rate: int) -> None:
    depth = np.concatenate([np.linspace(20, 400, 2 * rate), np.linspace(400, 20, 2 * rate)])
    boxes: list[Box | None] = [(0, 300, int(x), 420) for x in depth]
    counts = counted([*boxes, *[None] * 3 * rate], rate)
    assert (counts.missed, counts.cut_off) == (0, 1)


@pytest.mark.parametrize("rate", [4, 10, 30])
@pytest.mark.parametrize("border", [1, 3])
def test_what_passes_along_a_border_is_missed(border: int, rate: int) -> None:
    """Cut by the border all the way, faster and slower: it passed, and nobody judged it."""
    for speed in (300.0, 900.0):
        xs = [x for k in range(8 * rate) if (x := round(speed * k / rate) - SIDE) < VIEW[0]]
        boxes = [mirrored((0, max(0, x), 120, min(VIEW[0], x + SIDE)), border) for x in xs if
                 x > -SIDE]  # fmt: skip
        counts = counted([*boxes, *[None] * 3 * rate], rate)
        assert (counts.missed, counts.cut_off) == (1, 0), speed


@pytest.mark.parametrize("rate", [2, 4, 10])
def test_what_crosses_the_view_too_fast_to_be_whole_is_missed(rate: int) -> None:
    """It is cut by the border it comes in by, then by the one it leaves by."""
    step = VIEW[0] - SIDE // 2  # pixels a look
    boxes: list[Box | None] = [(0, 200, SIDE // 2, 400), (step, 200, VIEW[0], 400)]
    counts = counted([None, *boxes, *[None] * 5 * rate], rate)
    assert counts.missed >= 1
    assert counts.cut_off == 0


def test_what_was_seen_once_at_a_border_is_missed_at_slow_rates() -> None:
    """One look a second tells nothing of where it went: it may have passed."""
    counts = counted([None, None, (0, 200, 100, 400), None, None, None, None], 1)
    assert (counts.missed, counts.cut_off, counts.brief) == (1, 0, 0)


def test_a_part_larger_than_the_view_is_missed() -> None:
    counts = counted([(0, 200, VIEW[0], 500)] * 20 + [None] * 20, 10)
    assert (counts.missed, counts.cut_off) == (1, 0)


@pytest.mark.parametrize(
    ("share", "stayed"), [(0.0, True), (0.45, True), (0.55, False), (3, False)]
)
def test_how_far_it_may_shift_along_the_border(share: float, stayed: bool) -> None:
    track = BorderTrack()
    for far in (0.0, share / 2, share):
        at = 100 + round(far * SIDE)
        track.seen((0, at, 80, at + SIDE), (1280, 2000))
    assert track.stayed is stayed


def test_what_comes_off_the_border_has_not_stayed_there() -> None:
    track = BorderTrack()
    for x in (0, 0, 60):
        track.seen((x, 300, x + SIDE, 500), VIEW)
    assert not track.stayed
    assert track.borders == frozenset()


@pytest.mark.parametrize("side", [60, 120, 239, 360, 541, 720, 2160])
def test_presence_calls_nothing_whole_that_the_rule_says_touches(side: int) -> None:
    """What presence leaves unjudged for the border's sake touches it here too, at every size."""
    from vision_edge.runtime.images.presence import Presence

    empty = np.full((side, 2 * side, 3), 90, np.uint8)
    for left in range(side // 6):
        image = empty.copy()
        image[side // 4 : 3 * side // 4, left : left + side // 2] = 230
        for found in Presence(empty).find_all(image):
            track = BorderTrack()
            track.seen(found.box, (2 * side, side))
            assert found.complete or 0 in track.borders, (left, found)
        if left > 0.05 * side + 10:
            break
