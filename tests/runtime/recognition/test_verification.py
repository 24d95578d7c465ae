"""Is it the expected product? Answers, their rate, and what they do where nothing can be said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.recognition.negatives import Negatives
from vision_edge.runtime.recognition.part_consensus import agree
from vision_edge.runtime.recognition.prototypes import Decision, PrototypeClassifier
from vision_edge.runtime.recognition.stranger_beliefs import LONE_MEAN, LONE_WIDTH
from vision_edge.runtime.recognition.strangers import (
    Cohort,
    Draws,
    Strangers,
    fit_strangers,
)
from vision_edge.runtime.recognition.verification import (
    MOST_PAIRS,
    SURELY_WRONG,
    Compared,
    Verification,
    WrongParts,
    _thinned,
    verified,
)

D = 64
ORIGIN = np.zeros(D, np.float32)
NOBODY = Cohort(np.zeros((0, D), np.float32), from_station=False)


def world(seed: int, classes: int, each: int, spread: float = 0.8) -> tuple[Any, Any]:
    """Return frames and snapshots of classes of one domain, both float32 (classes, each, D)."""
    rng = np.random.default_rng(seed)
    kinds = 0.6 * rng.standard_normal((1, 1, D)) + rng.standard_normal((classes, 1, D))
    whole = kinds + spread * rng.standard_normal((classes, each, D))
    views = whole[:, :, None] + 0.3 * spread * rng.standard_normal((classes, each, 3, D))
    return views[:, :, 0].astype(np.float32), views.mean(axis=2).astype(np.float32)


def classifier(snapshots: Any, **options: Any) -> PrototypeClassifier:
    labels = [str(number) for number in range(len(snapshots))]
    return PrototypeClassifier(labels, list(snapshots), ORIGIN, NOBODY, **options)


def wrong_parts(snapshots: Any, cohort: Cohort = NOBODY) -> WrongParts:
    strangers = fit_strangers(list(snapshots), ORIGIN, cohort)
    return WrongParts(list(snapshots), ORIGIN, cohort, strangers)


def asked(classifier: PrototypeClassifier, expected: str, frames: Any) -> list[Verification]:
    got = [one.verification for one in classifier.verify(expected, frames)]
    assert all(one is not None for one in got)
    return [one for one in got if one is not None]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 16),
    shots=st.sampled_from([1, 3, 5]),
    rate=st.sampled_from([0.001, 0.05]),
)
def test_a_registered_picture_shown_again_is_right(
    seed: int, count: int, shots: int, rate: float
) -> None:
    frames, snapshots = world(seed, count, shots)
    got = classifier(snapshots, false_accept_rate=rate)
    for number in range(count):
        for told in asked(got, str(number), frames[number]):
            assert (told.answer, told.reason, told.wrong_rate) == ("right", "", 0.0)
            assert told.expected == str(number)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 16), shots=st.sampled_from([1, 4]))
def test_what_is_identified_as_the_expected_product_is_right(
    seed: int, count: int, shots: int
) -> None:
    frames, snapshots = world(seed, count, shots + 4)
    got = classifier(snapshots[:, :shots])
    for number in range(count):
        for decision in got.verify(str(number), frames[number, shots:]):
            told = decision.verification
            assert told is not None
            if decision.label == str(number):
                assert told.answer == "right"
            if told.answer == "right":
                assert decision.nearest == str(number)


def shares(count: int, shots: int) -> tuple[float, float, float, float]:
    """Return right of right parts, of strangers and of other products; and identified of own."""
    right, strange, other, named = [], [], [], []
    for seed in range(20):
        frames, snapshots = world(seed, 2 * count + 4, shots + 4, 1.1)
        got = classifier(snapshots[:count, :shots])
        for number in range(min(count, 4)):
            own = got.verify(str(number), frames[number, shots:])
            right += [one.verification.answer == "right" for one in own if one.verification]
            named += [one.label == str(number) for one in own]
            strangers = frames[count:, 0]
            strange += [one.answer == "right" for one in asked(got, str(number), strangers)]
            others = np.delete(frames[:count, shots], number, axis=0)
            if len(others):
                other += [one.answer == "right" for one in asked(got, str(number), others)]
    return (*(float(np.mean(x)) if x else 0.0 for x in (right, strange, other, named)),)  # type: ignore[return-value]


@pytest.mark.parametrize("count", [1, 3, 8, 16])
@pytest.mark.parametrize("shots", [1, 4])
def test_wrong_parts_pass_at_the_asked_rate_and_more_right_ones_than_are_identified(
    count: int, shots: int
) -> None:
    right, strange, other, named = shares(count, shots)
    assert strange <= 2 * 0.05
    assert other <= 0.05
    assert right > named if count > 3 else right >= named


def test_of_one_product_alone_it_is_what_strangers_reach() -> None:
    frames, snapshots = world(1, 1, 2)
    model = wrong_parts(snapshots[:, :1]).of(0)
    assert (model.mean, model.width, model.draws) == (LONE_MEAN, LONE_WIDTH, ())
    by_two = wrong_parts(snapshots).of(0)
    assert by_two == fit_strangers([snapshots[0, :2]], ORIGIN, NOBODY)
    assert by_two.width < LONE_WIDTH
    [decision] = classifier(snapshots).verify("0", 0.4 * frames[0, :1] + 0.5)
    assert decision.verification is not None
    assert decision.verification.wrong_rate == pytest.approx(decision.stranger_rate)


def test_frames_of_the_station_tell_what_wrong_parts_reach() -> None:
    _, snapshots = world(2, 5, 1)
    near = snapshots[0] + 0.8 * np.random.default_rng(3).standard_normal((60, D))
    cohort = Cohort(near.astype(np.float32), from_station=True)
    score = np.array([0.5])
    without = wrong_parts(snapshots).of(0).rate(score)
    assert wrong_parts(snapshots, cohort).of(0).rate(score) > 2 * without


def saw(*frames: Any) -> Cohort:
    seen = np.concatenate([rows.reshape(-1, D) for rows in frames])
    return Cohort(NOBODY.embeddings, from_station=False, seen=seen)


def test_of_one_product_what_the_camera_saw_says_the_same_of_wrong_parts_and_strangers() -> None:
    frames, snapshots = world(4, 9, 8)
    cohort, scores = saw(frames[:6, 4:]), np.linspace(-0.5, 1.0, 20)
    strangers = fit_strangers([snapshots[0, :2]], ORIGIN, cohort)
    assert strangers.told is not None
    wrong = WrongParts([snapshots[0, :2]], ORIGIN, cohort, strangers).of(0)
    assert wrong.rate(scores) == pytest.approx(strangers.rate(scores))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_what_the_camera_saw_lets_more_right_parts_pass_and_hardly_more_strangers(
    count: int,
) -> None:
    told: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for seed in range(12):
        frames, snapshots = world(seed, count + 24, 14, 1.1)
        own, strange = snapshots[:count, :1], frames[count:]
        cohort = saw(frames[:count, 8:], strange[:12, :4])
        names = [str(number) for number in range(count)]
        for looked, said in told.items():
            got = PrototypeClassifier(names, list(own), ORIGIN, cohort if looked else NOBODY)
            said.append(
                tuple(  # type: ignore[arg-type]
                    float(np.mean([one.answer == "right" for one in asked(got, "0", shown)]))
                    for shown in (frames[0, 1:8], strange[12:, :4].reshape(-1, D))
                )
            )
    (right, _), (more, strangers) = np.mean(told[False], axis=0), np.mean(told[True], axis=0)
    assert more >= right
    assert strangers <= 2 * 0.05


def test_frames_of_another_product_alone_change_nothing() -> None:
    """They are no right parts and no strangers, so that nothing is left to learn from."""
    frames, snapshots = world(0, 4, 20, 0.3)
    own, scores = snapshots[:, :3], np.linspace(-0.5, 1.0, 20)
    cohort = saw(frames[1, 3:])
    assert wrong_parts(own, cohort).of(0).rate(scores) == pytest.approx(
        wrong_parts(own).of(0).rate(scores)
    )
    assert wrong_parts(own, cohort).of(1).told is not None


def test_of_ten_thousand_products_one_is_verified_by_a_sample_of_pairs() -> None:
    rng = np.random.default_rng(0)
    snapshots = rng.standard_normal((10_000, 1, D)).astype(np.float32)
    got = classifier(snapshots)
    assert asked(got, "77", snapshots[77])[0].answer == "right"
    assert asked(got, "77", snapshots[78])[0].answer == "wrong"


def test_many_pairs_are_thinned_to_the_same_distribution() -> None:
    rng = np.random.default_rng(1)
    scores, weights = rng.standard_normal(5000) * 0.15 + 0.3, rng.random(5000)
    every = Draws(scores, weights / weights.sum(), 20.0, 0.02)
    few = _thinned(every)
    assert len(few.scores) == MOST_PAIRS
    assert (few.count, few.kernel) == (20.0, 0.02)
    at = np.linspace(-0.2, 0.9, 50)
    rates = [Strangers(0.3, 0.15, 3.0, (draws,)).rate(at) for draws in (every, few)]
    assert np.abs(rates[0] - rates[1]).max() < 0.004
    assert _thinned(few) is few


def test_another_products_picture_is_wrong_and_says_why() -> None:
    frames, snapshots = world(4, 6, 1, 0.3)
    [told] = asked(classifier(snapshots), "0", frames[3, :1])
    assert (told.answer, told.reason) == ("wrong", "other")
    assert told.wrong_rate is not None
    assert told.wrong_rate > SURELY_WRONG


def test_two_products_that_hold_the_same_picture_cannot_be_told_apart() -> None:
    frames, snapshots = world(5, 5, 1)
    snapshots[1] = snapshots[0]
    [told] = asked(classifier(snapshots), "0", frames[0, :1])
    assert (told.answer, told.reason) == ("unsure", "twice")


def test_what_a_person_said_is_not_the_product_is_wrong() -> None:
    frames, snapshots = world(6, 4, 2)
    negatives = Negatives(frames[0, 1:2], ("0",))
    [told] = asked(classifier(snapshots[:, :1], negatives=negatives), "0", frames[0, 1:2])
    assert (told.answer, told.reason, told.wrong_rate) == ("wrong", "negative", 1.0)


def test_of_a_product_that_is_not_registered_nothing_is_said() -> None:
    frames, snapshots = world(7, 3, 1)
    [decision] = classifier(snapshots).verify("none such", frames[0])
    assert decision.label == "0"
    assert decision.verification == Verification("none such", "unsure", "not-registered")
    assert decision.verification.document() == {
        "expected": "none such",
        "answer": "unsure",
        "reason": "not-registered",
        "score": None,
        "wrong_rate": None,
    }


def test_a_fixed_threshold_decides_without_a_rate() -> None:
    frames, snapshots = world(8, 3, 1, 0.3)
    got = classifier(snapshots, threshold=0.7)
    [right], [wrong] = asked(got, "0", frames[0]), asked(got, "1", frames[0])
    assert (right.answer, right.wrong_rate) == ("right", None)
    assert (wrong.answer, wrong.reason, wrong.wrong_rate) == ("wrong", "other", None)
    everything = classifier(snapshots, threshold=-1.0)
    assert {one.answer for one in asked(everything, "2", -frames[:, 0])} == {"right", "wrong"}


@pytest.mark.parametrize(
    ("nearest", "known", "rate", "answer", "reason"),
    [
        (True, True, 0.01, "right", ""),
        (True, False, 0.10, "unsure", "between"),
        (True, False, 0.60, "wrong", "far"),
        (False, True, 0.01, "unsure", "other"),
        (False, True, 0.10, "wrong", "other"),
        (False, False, 0.10, "unsure", "other"),
        (False, False, 0.60, "wrong", "other"),
    ],
)
def test_right_unsure_or_wrong(
    nearest: bool, known: bool, rate: float, answer: str, reason: str
) -> None:
    told = verified("a", Compared(0.5, rate, nearest=nearest, known=known), 0.05)
    assert (told.answer, told.reason) == (answer, reason)


@pytest.mark.parametrize("asked_rate", [1e-6, 0.05, 0.2, 0.25, 0.5, 0.9])
def test_what_is_asked_for_is_never_called_wrong(asked_rate: float) -> None:
    told = verified("a", Compared(0.5, asked_rate, nearest=True, known=False), asked_rate)
    assert told.answer == "right"
    above = verified("a", Compared(0.5, 0.999, nearest=True, known=False), asked_rate)
    assert above.answer == "wrong"


def decided(answer: str, label: str | None = "a") -> Decision:
    told = Verification("a", answer, "", 0.5, 0.01)  # type: ignore[arg-type]
    return Decision(label, "a", 0.5, 0.1, label is not None, False, 0.01, told)


class Fixed:
    """A classifier that gives what it is told, one frame after another."""

    def __init__(self, *decisions: Decision) -> None:
        self._decisions = decisions

    def classify(self, embeddings: Any, patches: Any = None) -> list[Decision]:
        return list(self._decisions)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (("right", "right", "wrong"), "right"),
        (("wrong", "wrong", "unsure"), "wrong"),
        (("right", "wrong", "unsure"), "unsure"),
        (("right", "wrong"), "unsure"),
        (("right",), "right"),
    ],
)
def test_the_frames_of_a_part_vote_on_whether_it_is_right(
    answers: tuple[str, ...], said: str
) -> None:
    rows = [np.zeros(D, np.float32)] * len(answers)
    for label in ("a", None):
        frames = Fixed(*(decided(answer, label) for answer in answers))
        got = agree(frames, "votes", rows).decision.verification
        assert got is not None
        assert got.answer == said
