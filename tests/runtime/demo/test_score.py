"""The demonstration's score comes from the truth, and from nothing else."""

from __future__ import annotations

from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.demo.score import score
from vision_edge.demo.script import Cast, draw_cast
from vision_edge.demo.settings import ConveyorConfig, FrameTruth, PartTruth
from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.prototypes import Decision

CAST = Cast(0, ("hex_nut", "washer"), ("o_ring",), ConveyorConfig(), passes=1)


def passing(
    instance: int, label: str, first: int, last: int, visible: float = 1.0
) -> list[FrameTruth]:
    part = PartTruth(instance, label, (0, 0, 9, 9), visible, centred=True)
    return [FrameTruth(frame, (part,), hand=False) for frame in range(first, last + 1)]


def verdict(label: str | None, first: int, last: int) -> PartVerdict:
    known = label is not None
    decision = Decision(label, label or "washer", 0.8 if known else 0.1, 0.2, known)
    return PartVerdict(first, last, first, last - first + 1, decision)


TRUTH = [
    *passing(0, "hex_nut", 10, 20),
    *passing(1, "washer", 40, 50),
    *passing(2, "o_ring", 70, 80),
]


def test_right_verdicts_count() -> None:
    verdicts = [verdict("hex_nut", 11, 19), verdict("washer", 40, 52), verdict(None, 70, 80)]
    result = score(CAST, TRUTH, verdicts)
    assert result.share(known=True) == (2, 2)
    assert result.share(known=False) == (1, 1)
    assert result.spurious == ()


def test_wrong_names_missed_parts_and_accepted_strangers_do_not() -> None:
    verdicts = [verdict("washer", 11, 19), verdict("washer", 70, 80)]
    result = score(CAST, TRUTH, verdicts)
    assert result.share(known=True) == (0, 2)
    assert result.share(known=False) == (0, 1)
    assert result.by_part() == {"hex_nut": (0, 1), "washer": (0, 1), "o_ring": (0, 1)}


def test_a_stranger_that_was_not_judged_was_not_refused() -> None:
    assert score(CAST, TRUTH, []).share(known=False) == (0, 1)


def test_a_product_named_where_nothing_passed_is_spurious() -> None:
    result = score(CAST, TRUTH, [verdict("washer", 25, 30), verdict(None, 60, 65)])
    assert [v.first for v in result.spurious] == [25]


def test_a_part_hidden_by_a_hand_is_not_counted() -> None:
    hidden = passing(3, "washer", 100, 110, visible=0.5)
    assert score(CAST, hidden, []).passages == ()


def test_the_verdict_with_most_shared_frames_is_taken() -> None:
    verdicts = [verdict(None, 8, 11), verdict("hex_nut", 12, 20)]
    (first, *_) = score(CAST, TRUTH, verdicts).passages
    assert first.answer == "hex_nut"


def test_the_cast_follows_from_the_seed() -> None:
    casts = [draw_cast(seed) for seed in range(20)]
    assert draw_cast(3) == draw_cast(3)
    assert len({cast.registered for cast in casts}) == 20
    for cast in casts:
        everyone = cast.registered + cast.strangers
        assert len(cast.registered) == 8
        assert len(set(everyone)) == 12
        assert set(everyone) <= set(PART_NAMES)
