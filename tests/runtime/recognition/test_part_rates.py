"""Parts at every rate of looks, with drops and jitter: each is told once, or counted as missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.part_startup import HOLD_LOOKS
from vision_edge.runtime.recognition.part_tracking import PartSettings, PartTracker, Sighting
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

VIEW, SIDE, DIM = (1280, 720), 150, 16
CENTRES = 10 * np.eye(5, DIM, dtype=np.float32)
NONE = Cohort(np.zeros((0, DIM), np.float32), from_station=False)


def tracker() -> PartTracker:
    zero = np.zeros(DIM, np.float32)
    return PartTracker(PrototypeClassifier(list("abcde"), CENTRES, zero, NONE, threshold=0))


def like(product: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.4, DIM)
    return (CENTRES[product] + noise).astype(np.float32)


def boxed(x: float, y: int = 100) -> tuple[int, int, int, int]:
    return max(0, int(x)), y, min(VIEW[0], int(x) + SIDE), y + SIDE


def belt(
    rate: float, count: int, seed: int, speed: float, drops: float
) -> Iterator[tuple[int, float, list[tuple[int, int, tuple[int, int, int, int], bool]]]]:
    """Give looks: frame, time, and of each part number, product, box and whether it is whole."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(200, 1200, count)) / speed
    lanes, products = rng.choice([100, 400], count), rng.integers(0, 5, count)
    time = 0.0
    for frame in range(10**6):
        time += max(1e-3, rng.normal(1.0, 0.2) / rate)
        if time > starts[-1] + 2000 / speed:
            return
        if rng.random() < drops:
            continue
        left = (time - starts) * speed - SIDE
        inside = np.flatnonzero((left > 8 - SIDE) & (left < VIEW[0] - 8))
        yield (
            frame,
            time,
            [
                (
                    int(k),
                    int(products[k]),
                    boxed(left[k], int(lanes[k])),
                    0 < left[k] < VIEW[0] - SIDE,
                )
                for k in inside
            ],
        )


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    rate=st.sampled_from([1, 2, 3, 8]),
    seed=st.integers(0, 10**6),
    speed=st.sampled_from([200, 400, 700]),
    drops=st.sampled_from([0.0, 0.1, 0.2]),
)
def test_every_part_that_was_judged_is_told_once(
    rate: float, seed: int, speed: float, drops: float
) -> None:
    count, parts = 20, tracker()
    told: Counter[int] = Counter()
    judged: set[int] = set()
    where: dict[tuple[int, object], int] = {}
    verdicts: list[PartVerdict] = []
    for frame, time, shown in belt(rate, count, seed, speed, drops):
        needed = parts.needs([box for _, _, box, _ in shown], time)
        seen = []
        for (part, product, box, whole), wanted in zip(shown, needed, strict=True):
            where[frame, box] = part
            judged.update([part] if whole else [])
            seen.append(Sighting(box, like(product, frame) if whole and wanted else None))
        verdicts += parts.look(frame, time, seen, VIEW)
    verdicts += parts.finish()
    told.update(where[verdict.evidence, verdict.box] for verdict in verdicts)
    assert max(told.values()) == 1
    assert len(judged - set(told)) <= parts.counts.missed
    assert parts.counts.reported == len(told) == len(verdicts)


def at(parts: PartTracker, looks: list[tuple[float, list[Sighting]]]) -> list[list[PartVerdict]]:
    return [parts.look(k, time, seen, VIEW) for k, (time, seen) in enumerate(looks)]


def test_at_start_up_parts_a_view_apart_are_held_until_their_speed_is_known() -> None:
    """Two equal parts, 400 pixels a look apart: the second place of one is no second part."""

    def look(*xs: float) -> list[Sighting]:
        return [Sighting(boxed(x), like(0, int(x))) for x in xs]

    parts = tracker()
    told = at(parts, [(0, []), (1, look(100)), (2, look(500)), (3, look(900, 60)), (4, look(460)),
                      (5, look(860)), (6, []), (7, [])])  # fmt: skip
    everything = [v for verdicts in told for v in verdicts] + parts.finish()
    assert len(everything) == 2
    assert parts.counts.reported == 2


def test_the_hold_of_start_up_has_an_end() -> None:
    """Equal parts at random places never agree on a speed: they are told all the same."""
    rng = np.random.default_rng(3)
    places = [float(x) for x in rng.uniform(20, 1100, 30)]
    parts = tracker()
    told = at(parts, [(float(k), [Sighting(boxed(x), like(1, k))]) for k, x in enumerate(places)])
    assert any(told[: 2 * HOLD_LOOKS + 2])


def test_other_products_put_down_by_hand_are_not_held() -> None:
    """A part that lies still, and another one elsewhere after it: no doubt, and no delay."""
    still = [(k / 2, [Sighting(boxed(200), like(0, k))]) for k in range(4)]
    other = [(2 + k / 2, [Sighting(boxed(900), like(1, k))]) for k in range(4)]
    told = at(tracker(), still + other)
    assert [k for k, verdicts in enumerate(told) if verdicts] == [2, 6]


def test_a_camera_that_stalls_does_not_make_two_parts_of_one() -> None:
    parts = tracker()
    times = [*(k / 5 for k in range(6)), *(2.4 + k / 5 for k in range(4))]
    looks = [(time, [Sighting(boxed(100 + 300 * time), like(2, k))])
             for k, time in enumerate(times)]  # fmt: skip
    assert sum(map(len, at(parts, looks))) + len(parts.finish()) == 1


@pytest.mark.parametrize("rate", [1, 5, 30])
def test_a_belt_that_stops_does_not_make_two_parts_of_one(rate: int) -> None:
    """The belt runs, stops for five seconds with a part in view, and goes on."""
    parts, told = tracker(), 0
    for k in range(30 * rate):
        time = k / rate
        run = min(time, 15) + max(0.0, time - 20)
        xs = [300 * run - start for start in (0, 700, 1500, 2300, 3500, 4200, 5400)]
        inside = [x for x in xs if -SIDE + 8 < x < VIEW[0] - 8]
        seen = [Sighting(boxed(x), like(0, k) if 0 < x < VIEW[0] - SIDE else None) for x in inside]
        told += len(parts.look(k, time, seen, VIEW))
    told += len(parts.finish())
    assert told == 7


def test_a_part_cut_by_the_border_tells_nothing_of_its_speed() -> None:
    """Its box grows as it enters: its middle moves at half the speed. Then two looks are lost."""
    parts = tracker()
    xs = {0.0: -20, 0.1: 30, 0.2: 80, 0.8: 380, 0.9: 430, 1.0: 480}
    looks = [(time, [Sighting(boxed(x), like(2, k) if x > 0 else None)])
             for k, (time, x) in enumerate(xs.items())]  # fmt: skip
    assert sum(map(len, at(parts, looks))) + len(parts.finish()) == 1


def test_a_part_judged_on_too_few_frames_for_a_verdict_is_missed() -> None:
    """It was long in view, but of its frames one alone was judged."""
    parts = PartTracker(tracker()._classifier, PartSettings(least=3))
    seen = [Sighting(boxed(200), like(0) if k == 3 else None) for k in range(12)]
    at(parts, [(k / 30, [one]) for k, one in enumerate(seen)])
    assert parts.finish() == []
    assert (parts.counts.missed, parts.counts.brief) == (1, 0)
