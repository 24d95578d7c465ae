"""A verdict as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from vision_edge.runtime.recognition.prototypes import Decision
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.recognition.verification import Verification

TIME = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)


def verdict(label: str | None = "nut", **fields: Any) -> Verdict:
    nearest = label or "nut"
    decision = Decision(label, nearest, 0.123456789, 0.5, label is not None)
    values = {"source": "cam", "frame": 7, "age_ms": 12.34567, "decision": decision, **fields}
    return Verdict(TIME, **values)


def test_a_known_product() -> None:
    assert json.loads(verdict().to_json()) == {
        "time": "2026-03-01T12:00:00.123+00:00",
        "source": "cam",
        "frame": 7,
        "age_ms": 12.346,
        "label": "nut",
        "score": 0.123457,
        "margin": 0.5,
        "known": True,
        "nearest": "nut",
        "band": "accept",
        "stranger_rate": None,
    }


def test_an_unknown_product_has_no_label_but_a_nearest_one() -> None:
    document = json.loads(verdict(None).to_json())
    assert (document["label"], document["known"], document["nearest"]) == (None, False, "nut")


def test_with_one_product_there_is_no_margin() -> None:
    decision = Decision("nut", "nut", 1.0, None, True)
    assert json.loads(verdict(decision=decision).to_json())["margin"] is None


@pytest.mark.parametrize("text", ["Stück ⚙", 'a"b\\c', "line\nbreak\r\u2028", "</script>", "\0"])
def test_any_text_stays_on_one_line_and_comes_back(text: str) -> None:
    decision = Decision(text, text, 1.0, None, True)
    line = verdict(decision=decision, source=text).to_json()
    assert "\n" not in line
    assert "\r" not in line
    document = json.loads(line)
    assert (document["label"], document["nearest"], document["source"]) == (text, text, text)


def test_a_label_is_readable_in_the_file() -> None:
    assert '"label": "Stück ⚙"' in verdict("Stück ⚙").to_json()


def test_the_time_keeps_its_zone() -> None:
    there = TIME.astimezone(timezone(timedelta(hours=9)))
    line = Verdict(there, "cam", 0, 0.0, verdict().decision).to_json()
    assert datetime.fromisoformat(json.loads(line)["time"]) == TIME.replace(microsecond=123000)


def test_a_verdict_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        verdict().frame = 8  # type: ignore[misc]


def asked(answer: str) -> Decision:
    reason = "" if answer == "right" else "far"
    told = Verification("nut", answer, reason, 0.5, 0.1)  # type: ignore[arg-type]
    return Decision("nut", "nut", 0.5, 0.5, known=True, verification=told)


@pytest.mark.parametrize(
    ("answers", "worst"),
    [
        (("right",), "right"),
        (("right", "right"), "right"),
        (("right", "unsure"), "unsure"),
        (("right", "unsure", "wrong"), "wrong"),
        (("wrong", "right"), "wrong"),
    ],
)
def test_of_several_parts_the_one_that_needs_a_person_answers(
    answers: tuple[str, ...], worst: str
) -> None:
    """The first is the largest; one that is not judged yet says nothing."""
    parts = [LocatedPart((0, 0, 9 - k, 9), asked(answer)) for k, answer in enumerate(answers)]
    told = verdict(decision=asked(answers[0]), parts=(*parts, LocatedPart((0, 0, 1, 1), None)))
    document = told.document()
    assert document["verification"]["answer"] == worst  # type: ignore[index]
    each = [part.get("verification") for part in document["parts"]]  # type: ignore[attr-defined]
    assert [one and one["answer"] for one in each] == [*answers, None]
