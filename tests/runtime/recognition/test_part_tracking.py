"""Parts are followed: each is reported once, whatever the rate of looks, or counted as missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.part_motion import Flow, Place, matched
from vision_edge.runtime.recognition.part_tracking import PartSettings, PartTracker, Sighting
from vision_edge.runtime.recognition.patch_ranking import PatchRanking
from vision_edge.runtime.recognition.prototypes import Decision, PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.recognition.verification import Verification

DIM, SIDE, VIEW = 16, 100, (800, 400)
CENTRES = 10 * np.eye(3, DIM, dtype=np.float32)
NONE = Cohort(np.zeros((0, DIM), np.float32), from_station=False)


def tracker(**settings: Any) -> PartTracker:
    zero = np.zeros(DIM, np.float32)
    made = PrototypeClassifier(["a", "b", "c"], CENTRES, zero, NONE, threshold=0)
    return PartTracker(made, PartSettings(**settings))


def vector(product: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.4, DIM)
    return (CENTRES[product] + noise).astype(np.float32)


def belt(
    parts: list[tuple[float, int, int]], rate: float, speed: float = 300.0, seconds: float = 10.0
) -> Iterator[tuple[int, float, list[Sighting]]]:
    """Give looks at parts (time of entering, lane, product) that move to the right."""
    for frame in range(round(seconds * rate)):
        time, seen = frame / rate, []
        for enters, lane, product in parts:
            x = round((time - enters) * speed) - SIDE
            if x <= -SIDE + 5 or x >= VIEW[0] - 5:
                continue
            box = (max(0, x), lane, min(VIEW[0], x + SIDE), lane + SIDE)
            whole = x > 0 and x + SIDE < VIEW[0]
            seen.append(Sighting(box, vector(product, frame) if whole else None))
        yield frame, time, seen


def reports(
    parts: PartTracker, looks: Iterator[tuple[int, float, list[Sighting]]]
) -> list[tuple[float, PartVerdict]]:
    told, time = [], 0.0
    for frame, time, seen in looks:
        told += [(time, verdict) for verdict in parts.look(frame, time, seen, VIEW)]
    return told + [(time, verdict) for verdict in parts.finish()]


PARTS = [(0.2, 50, 0), (1.0, 250, 1), (1.8, 50, 2), (2.9, 50, 0), (3.0, 250, 0), (4.4, 50, 1)]


@pytest.mark.parametrize("rate", [60, 30, 15, 8, 4, 2])
@pytest.mark.parametrize("report", ["settled", "leave"])
def test_each_part_is_reported_once_at_any_rate(rate: float, report: str) -> None:
    parts = tracker(report=report)
    told = reports(parts, belt(PARTS, rate))
    assert sorted(v.decision.label or "" for _, v in told) == ["a", "a", "a", "b", "b", "c"]
    assert sorted(v.number for _, v in told) == [1, 2, 3, 4, 5, 6]
    assert (parts.counts.reported, parts.counts.missed, parts.counts.in_view) == (6, 0, 0)


def test_a_settled_part_is_told_at_its_third_judged_frame() -> None:
    told = reports(tracker(), belt([(0.2, 50, 1)], 30))
    ((time, verdict),) = told
    assert verdict.frames == 3
    assert time == pytest.approx(verdict.first / 30 + 2 / 30)


class Unnamed:
    """A classifier that knows nothing by name, and says of all whether it is expected."""

    def __init__(self, answer: str) -> None:
        told = Verification("a", answer, "" if answer == "right" else "far", 0.5, 0.01)  # type: ignore[arg-type]
        self._decision = Decision(None, "a", 0.5, 0.1, False, False, 0.1, told)

    def classify(self, embeddings: Any, patches: Any = None) -> list[Decision]:
        return [self._decision] * (1 if embeddings.ndim == 1 else len(embeddings))


@pytest.mark.parametrize(("answer", "settled"), [("right", True), ("wrong", False)])
def test_a_part_that_is_right_is_settled_though_it_has_no_name(answer: str, settled: bool) -> None:
    told = reports(PartTracker(Unnamed(answer)), belt([(0.2, 50, 1)], 30))
    ((_, verdict),) = told
    assert (verdict.frames == 3) is settled
    assert verdict.decision.verification is not None
    assert verdict.decision.verification.answer == answer


def test_a_part_that_leaves_is_told_when_it_has_left() -> None:
    ((time, verdict),) = reports(tracker(report="leave"), belt([(0.2, 50, 1)], 30))
    assert verdict.frames > 40
    assert time > verdict.last / 30


def test_frames_that_do_not_agree_are_told_at_the_deadline() -> None:
    parts, told = tracker(deadline=0.5, method="votes"), []
    for frame in range(60):
        seen = [Sighting((300, 50, 400, 150), vector(frame % 2, frame))]
        told += [(frame, v) for v in parts.look(frame, frame / 30, seen, VIEW)]
    ((when, verdict),) = told
    assert 3 <= when <= 16
    assert parts.finish() == []
    assert verdict.frames <= 17


def test_a_part_that_stays_is_reported_once_and_with_leave_after_so_long() -> None:
    for settings, most in (({}, 3), ({"report": "leave", "most": 2.0}, 61)):
        parts, told = tracker(**settings), []
        for frame in range(600):
            seen = [Sighting((300, 50, 400, 150), vector(2, frame))]
            told += parts.look(frame, frame / 30, seen, VIEW)
        assert [v.frames for v in told] == [most]
        assert parts.finish() == []


def test_a_reported_part_is_not_judged_again() -> None:
    parts = tracker()
    for frame in range(5):
        box = (300 + 5 * frame, 50, 400 + 5 * frame, 150)
        wanted = parts.needs([box, (50, 250, 150, 350)], frame / 30)
        assert wanted == [frame < 3, True]
        parts.look(frame, frame / 30, [Sighting(box, vector(0, frame))], VIEW)


def test_parts_that_were_never_judged_are_counted_with_the_reason() -> None:
    parts = tracker()
    box = (300, 50, 400, 150)
    for frame in range(30):
        parts.look(frame, frame / 30, [Sighting(box, None, stale=True)], VIEW)
    for frame in range(30, 60):
        parts.look(frame, frame / 30, [Sighting((200, 250, 260, 350), None)], VIEW)
    assert parts.finish() == []
    assert (parts.counts.missed, parts.counts.stale, parts.counts.reported) == (2, 1, 0)


def test_a_flicker_is_counted_as_brief_and_not_reported() -> None:
    parts = tracker()
    for frame in range(60):
        flash = frame in (20, 21)
        seen = [Sighting((300, 50, 400, 150), vector(0, frame))] if flash else []
        assert parts.look(frame, frame / 30, seen, VIEW) == []
    assert (parts.counts.brief, parts.counts.reported) == (1, 0)


def test_where_looks_are_rare_one_judged_frame_is_a_part() -> None:
    parts, told = tracker(), []
    for second in range(6):
        seen = [Sighting((300, 50, 400, 150), vector(0, second))] if second == 2 else []
        told += parts.look(second, float(second), seen, VIEW)
    assert [v.decision.label for v in told] == ["a"]


def test_two_parts_that_pass_each_other_in_their_lanes_keep_their_names() -> None:
    told = reports(tracker(report="leave"), belt([(0.2, 20, 0), (0.2, 140, 1), (0.2, 260, 2)], 10))
    assert sorted((v.box[1], v.decision.label) for _, v in told if v.box) == [
        (20, "a"), (140, "b"), (260, "c"),
    ]  # fmt: skip


def test_the_whole_picture_is_one_part_at_a_time() -> None:
    parts, told = tracker(report="leave"), []
    for frame in range(90):
        there = 10 <= frame < 30 or 50 <= frame < 70
        seen = [Sighting(None, vector(0 if frame < 40 else 1, frame))] if there else []
        told += parts.look(frame, frame / 30, seen, VIEW)
    assert [(v.first, v.last, v.decision.label, v.box) for v in told] == [
        (10, 29, "a", None),
        (50, 69, "b", None),
    ]


def test_a_common_velocity_is_learned_from_looks_that_do_not_overlap() -> None:
    flow, boxes = Flow(), [(k * 70 % 400, 0, k * 70 % 400 + 50, 50) for k in range(8)]
    assert flow.velocity is None
    for k, box in enumerate(boxes):
        place = Place(box, float(k))
        flow.learn([place], [(box[0] + 200, 0, box[2] + 200, 50)], {}, k + 1.0, VIEW)
    assert flow.velocity is not None
    assert flow.velocity.tolist() == [200.0, 0.0]


def test_a_part_is_not_taken_for_one_that_looks_otherwise_near_the_expected_place() -> None:
    place = Place((0, 0, 100, 100), 0.0, np.array([300.0, 0.0]), vector(0, 0))
    where = (350, 25, 450, 125)  # expected is 300 to 400
    assert matched([place], [where], [vector(0, 1)], 1.0, None, VIEW) == {0: 0}
    assert matched([place], [where], [vector(1, 1)], 1.0, None, VIEW) == {}


def test_each_part_in_view_is_told_how_often_it_was_judged() -> None:
    """So that the frames of each of several parts take their crops in turns of its own."""
    parts = tracker(report="leave")
    near, late = (50, 50, 150, 150), (400, 50, 500, 150)
    for frame in range(4):
        boxes = [near] if frame < 2 else [near, late]
        assert parts.judged(boxes, frame / 10) == [frame, frame - 2][: len(boxes)]
        seen = [Sighting(box, vector(k, frame), kind=frame % 3) for k, box in enumerate(boxes)]
        parts.look(frame, frame / 10, seen, VIEW)
    assert parts.judged([near, late, (650, 200, 750, 300)], 0.4) == [4, 2, 0]
    assert parts.judged([None], 0.4) == [0]


def test_a_parts_patches_decide_between_products_that_are_alike() -> None:
    products = np.array([[10.0, 0.2], [10.0, -0.2]], np.float32)
    patches = [np.eye(4, dtype=np.float32)[[k, k + 2]] for k in range(2)]
    made = PrototypeClassifier(
        ["a", "b"], products, np.zeros(2, np.float32), Cohort(products[:0], from_station=False),
        threshold=0, ranking=PatchRanking([[patches[0]], [patches[1]]], 0.5),
    )  # fmt: skip
    for shown, label in ((None, "a"), (patches[1], "b")):
        parts = PartTracker(made)
        told = []
        for frame in range(3):
            seen = [Sighting(None, np.array([10.0, 0.05], np.float32), patches=shown)]
            told += parts.look(frame, frame / 10, seen, VIEW)
        assert [verdict.decision.label for verdict in told] == [label]
