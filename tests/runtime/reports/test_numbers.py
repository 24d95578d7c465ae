"""Numbers in words."""

from __future__ import annotations

import pytest

from vision_edge.runtime.reports.numbers import brief, counted, duration, number, percent

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (-1.25, f"−1.2{NBSP}MB"), (-0.01, f"0.0{NBSP}MB")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value, 1, "MB") == text


def test_a_sign_where_it_is_asked_for() -> None:
    assert (number(2.0, sign=True), number(-2.0, sign=True)) == ("+2.0", "−2.0")


def test_shares_in_percent() -> None:
    assert percent(0.123) == f"12.3{NBSP}%"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(0.012345, "0.0123"), (12.34, "12.3"), (4508.2, "4508")]
)
def test_three_digits_count(value: float, text: str) -> None:
    assert brief(value) == text


def test_what_is_counted_has_its_form() -> None:
    assert counted(1, "class", "classes") == "1 class"
    assert counted(12000, "image") == "12 000 images"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (3.21, "3.2 s"),
        (59.7, "59.7 s"),
        (90, "1 min 30 s"),
        (754, "13 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
