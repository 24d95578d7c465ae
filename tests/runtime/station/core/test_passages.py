"""The review queue and the history on a rendered belt: one picture a part, whatever it does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision_edge.demo.conveyor import Conveyor, ConveyorConfig
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.frame_views import FrameViews
from vision_edge.runtime.pipeline.part_verdicts import part_verdicts
from vision_edge.runtime.pipeline.triggers import (
    IntervalTrigger,
    PresenceTrigger,
    Trigger,
)
from vision_edge.runtime.recognition.prototypes import NOTHING_KNOWN, Decision
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.passages import Passages, Remembered, direction
from vision_edge.station.core.review_queue import ReviewQueue
from vision_edge.station.core.source_line import occupied
from vision_edge.station.core.verdict_history import HistoryQuery, VerdictHistory
from vision_edge.station.settings.history import HistorySettings
from vision_edge.station.settings.station import ReviewSettings

PARTS = ("spur_gear", "washer", "circuit_board", "pipe_elbow", "o_ring")
MOST = 0.8
"""A part of which less is in view is but an edge on the belt."""
START = time.monotonic() + 1e6
"""When the first frame was taken: in the future, so that no pause of the test ends a passage."""
STEP, FPS = 5, 6.0
"""Rendered frames that are left out, and looks a second that are left: a slow device."""


@dataclass(eq=False)
class Look:
    """One frame of the belt, judged."""

    image: Image
    vector: Embeddings
    parts: tuple[int, ...]


@pytest.fixture(scope="module")
def belt() -> list[Look]:
    session = open_session(load_bundle(asset("bundle")), "cpu", threads=1)
    config = ConveyorConfig(seed=3, speed=8.0, spacing=3.0, empty_rate=0.0, hand_rate=0.0)
    line, views, looks = Conveyor(config, PARTS, passes=1), FrameViews(None), []
    for number in range(0, len(line), STEP):
        image, truth = line[number]
        [(embedding, _)] = views.embed(session, [views.prepared(image, session.spec)])
        vector = direction(embedding, session.bundle.centre)
        assert vector is not None
        seen = [part.instance for part in truth.parts if part.visible_fraction >= MOST]
        looks.append(Look(image, vector, tuple(seen)))
    return looks


def shown(looks: list[Look], rest: float) -> Iterator[tuple[float, Look]]:
    """Yield the belt's looks with their times; it stops for `rest` seconds at each part."""
    at, rested = START, set()
    middles = [
        [k for k, look in enumerate(looks) if look.parts == (part,)] for part in range(len(PARTS))
    ]
    stops = {ks[len(ks) // 2] for ks in middles}
    for number, look in enumerate(looks):
        times = round(rest * FPS) if number in stops and number not in rested else 1
        for _ in range(times):
            yield at, look
            at += 1 / FPS


def record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:024x}", "time": f"t{number:06}", "source_name": "cam", "label": None,
        "nearest": "bolt", "score": 0.5, "margin": None, "stranger_rate": 0.6, "band": "unknown",
        "known": False, **more,
    }  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[ReviewQueue]:
    opened = ReviewQueue(tmp_path / "r.db", ReviewSettings(per_minute=600), lambda _: None)
    yield opened
    opened.close()


def settled(queue: ReviewQueue) -> list[dict[str, Any]]:
    queue._settle(float("inf"))
    queue.flush()
    return queue.items(1000)


@pytest.mark.parametrize("rest", [0.0, 60.0])
def test_a_belt_without_a_trigger_brings_one_picture_a_part(
    belt: list[Look], queue: ReviewQueue, rest: float
) -> None:
    """Five strangers pass three times, each resting a minute: five pictures, one of the belt."""
    seen: dict[str, tuple[int, ...]] = {}
    number, offset = 0, 0.0
    for _ in range(3):
        for at, look in shown(belt, rest):
            queue.offer(
                Frame(look.image, "cam", number, at + offset), record(number), None, look.vector
            )
            seen[record(number)["id"]] = look.parts
            number += 1
            if number % 6 == 0:
                queue.flush()
        offset = at - START + offset + 1
    items = settled(queue)
    parts = [seen[item["id"]] for item in items]
    singles = [part for part in parts if len(part) == 1]
    assert len(set(singles)) == len(singles) == len(PARTS), parts
    assert len(items) - len(singles) <= 1, parts  # the empty belt, once
    assert queue.skipped == 0
    assert queue.grouped >= 2 * len(PARTS) - 2
    assert sum(item["times"] for item in items) == len(items) + queue.grouped


def test_the_empty_belt_is_no_picture_where_its_scene_is_known(
    belt: list[Look], queue: ReviewQueue
) -> None:
    presence = Presence(next(look.image for look in belt if not look.parts))
    for number, (at, look) in enumerate(shown(belt, 0.0)):
        more = {"in_view": occupied(presence, look.image)}
        queue.offer(Frame(look.image, "cam", number, at), record(number, **more), None, look.vector)
        queue.flush()
    assert len(settled(queue)) == len(PARTS)


def test_what_was_recognised_while_it_passed_is_not_asked_about(
    belt: list[Look], queue: ReviewQueue
) -> None:
    """A part that comes into view is unknown first, and known when it is wholly there."""
    for number, (at, look) in enumerate(shown(belt, 5.0)):
        same = [one for one in belt if one.parts == look.parts]
        known = bool(look.parts) and look in same[len(same) // 4 : -(len(same) // 4)]
        told = record(number, known=known, band="accept" if known else "unknown")
        queue.offer(Frame(look.image, "cam", number, at), told, None, look.vector)
        queue.flush()
    assert len(settled(queue)) <= 1  # the belt


@pytest.mark.parametrize("rest", [0.0, 4.0])
@pytest.mark.parametrize("every", [1, 2])
def test_a_slower_belt_without_a_trigger_brings_one_picture_a_part(
    belt: list[Look], queue: ReviewQueue, every: int, rest: float
) -> None:
    """Six and three looks a second, whichever of them are taken."""
    for first in range(every):
        slow, number = belt[first::every], 1000 * first
        seen: dict[str, tuple[int, ...]] = {}
        at = START + 1e4 * first
        for _, look in shown(slow, rest):
            at += every / FPS
            queue.offer(Frame(look.image, "cam", number, at), record(number), None, look.vector)
            queue.flush()
            seen[record(number)["id"]] = look.parts
            number += 1
        items = settled(queue)
        parts = [seen[item["id"]] for item in items]
        singles = [part for part in parts if len(part) == 1]
        assert len(set(singles)) == len(singles) == len(PARTS), parts
        queue.remove([item["id"] for item in items])


def part_triggers(belt: list[Look]) -> dict[str, Callable[[], Trigger]]:
    empty = next(look.image for look in belt if not look.parts)
    return {
        "presence": lambda: PresenceTrigger(Presence(empty)),
        "interval": lambda: IntervalTrigger(0.5),
    }


@pytest.mark.parametrize(
    ("kind", "rest"), [("presence", 0.0), ("presence", 3.0), ("interval", 2.0)]
)
def test_a_trigger_brings_one_picture_a_part(
    belt: list[Look], queue: ReviewQueue, kind: str, rest: float
) -> None:
    """As it is on a station: parts found by the empty scene, or what passes cut by the clock."""
    session = open_session(load_bundle(asset("bundle")), "cpu", threads=1)
    empty = next(look.image for look in belt if not look.parts)
    looks = list(shown(belt, rest))

    class Nothing:
        def classify(self, embeddings: Embeddings, patches: object = None) -> list[Decision]:
            return [NOTHING_KNOWN] * (1 if embeddings.ndim == 1 else len(embeddings))

    class Film:
        live, name, fps = False, "cam", FPS

        def __iter__(self) -> Iterator[Frame]:
            for number, (at, look) in enumerate(looks):
                yield Frame(look.image, "cam", number, at)

        def close(self) -> None: ...

    count, seen = 0, {}
    for frame, verdict in part_verdicts(Film(), session, Nothing(), part_triggers(belt)[kind]):
        told = {**record(count), **verdict.document()}
        told["in_view"] = kind == "presence" or occupied(Presence(empty), frame.image)
        vector = direction(verdict.embedding, session.bundle.centre)
        assert vector is not None
        queue.offer(frame, told, Presence(empty), vector, trigger=kind)
        queue.flush()
        seen[told["id"]] = looks[frame.number][1].parts
        count += 1
    items = settled(queue)
    parts = Counter(seen[item["id"]] for item in items)
    singles = {part: times for part, times in parts.items() if len(part) == 1}
    assert singles == {(k,): 1 for k in range(len(PARTS))}, parts
    assert len(items) == len(PARTS) <= count


@pytest.mark.parametrize(("likeness", "pictures"), [(0.88, 1), (0.82, 2)])
def test_a_part_that_comes_again_in_another_pose_is_the_same_picture(
    belt: list[Look], queue: ReviewQueue, likeness: float, pictures: int
) -> None:
    """Two washers that are nearly the same, minutes apart."""
    image, other = belt[0].image, np.array([likeness, (1 - likeness**2) ** 0.5], np.float32)
    for number, vector in enumerate((np.array([1, 0], np.float32), other)):
        told = record(number, part={"box": [0, 0, 9, 9]})
        queue.offer(Frame(image, "cam", number, 300.0 * number), told, None, vector)
        queue.flush()
    assert len(settled(queue)) == pictures


def test_what_was_dismissed_stays_away_and_what_was_assigned_may_come_again(
    belt: list[Look], queue: ReviewQueue
) -> None:
    look = next(one for one in belt if len(one.parts) == 1)

    def offer(number: int, at: float) -> None:
        told = record(number, part={"box": None})
        queue.offer(Frame(look.image, "cam", number, at), told, None, look.vector)
        queue.flush()

    offer(1, 1000.0)
    queue.remove([record(1)["id"]], forget=False)
    offer(2, 1100.0)
    assert queue.items(9) == []
    offer(3, 1100.0 + 601.0)
    assert [item["id"] for item in queue.items(9)] == [record(3)["id"]]
    queue.remove([record(3)["id"]])
    offer(4, 1702.0)
    assert [item["id"] for item in queue.items(9)] == [record(4)["id"]]


def test_a_restart_remembers_what_waits(belt: list[Look], tmp_path: Path) -> None:
    look, path = belt[len(belt) // 2], tmp_path / "again.db"
    for number in (1, 2):
        queue = ReviewQueue(path, ReviewSettings(), lambda _: None)
        queue.offer(Frame(look.image, "cam", 0, 5.0), record(number), None, look.vector)
        queue.close()
    queue = ReviewQueue(path, ReviewSettings(), lambda _: None)
    assert [item["times"] for item in queue.items(9)] == [2]
    queue.close()


def test_the_history_has_one_row_for_each_answer_of_a_passage(
    belt: list[Look], tmp_path: Path
) -> None:
    history = VerdictHistory(tmp_path / "h.db", HistorySettings(per_minute=6000))
    middles = [one for one in belt if len(one.parts) == 1]
    middles = [[one for one in middles if one.parts == (k,)] for k in range(len(PARTS))]
    nearest = [ones[len(ones) // 2].vector for ones in middles]
    for number, (at, look) in enumerate(shown(belt, 30.0)):
        scores = [float(vector @ look.vector) for vector in nearest]
        label = f"part {np.argmax(scores)}" if max(scores) > 0.7 else None
        band = "accept" if label else "unknown"
        told = record(number, known=label is not None, label=label, band=band)
        history.take(Frame(look.image, "cam", number, at), told, None, look.vector)
        if number % 6 == 0:
            history.flush()
    rows = history.find(HistoryQuery(band="accept"), 1000)
    assert {row["label"] for row in rows} == {f"part {k}" for k in range(len(PARTS))}
    assert len(rows) <= len(PARTS) + 1
    assert history.skipped == 0
    history.close()


@pytest.mark.parametrize("gap", [1.9, 2.1])
def test_a_pause_ends_a_passage(gap: float) -> None:
    vector = np.array([1, 0], np.float32)
    passages: Passages[int] = Passages()
    assert passages.look("cam", 0.0, vector, 1) == []
    given = passages.look("cam", gap, vector, 2)
    assert len(given) == (gap > 2)
    assert [(source, one.first) for source, one in passages.overdue(10.0)] == [("cam", True)]
    assert passages.overdue(20.0) == []


def test_models_of_different_sizes_have_nothing_in_common() -> None:
    kept = Remembered()
    kept.add("cam", 0.0, np.array([1, 0], np.float32), "a")
    assert kept.like("cam", 1.0, np.array([1, 0, 0], np.float32)) is None
    assert kept.like("cam", 1.0, np.array([1, 0], np.float32)) == "a"
    assert direction(np.ones(3, np.float32), np.zeros(2, np.float32)) is None
