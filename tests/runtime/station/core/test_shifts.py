"""Shifts: each begins once, also on the days on which the clock is changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from pydantic import ValidationError

from vision_edge.station.core.shifts import Shifts
from vision_edge.station.settings.counting import CountingSettings

THREE = ("06:00", "14:00", "22:00")
BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2026-11-27T05:00", "2026-11-27 06:00"),  # winter: an hour ahead of UTC
        ("2026-11-27T04:59:59", "2026-11-26 22:00"),
        ("2026-11-27T12:59:59", "2026-11-27 06:00"),
        ("2026-11-27T13:00", "2026-11-27 14:00"),
        ("2026-07-01T04:00", "2026-07-01 06:00"),  # summer: two
        ("2026-12-31T23:30", "2026-12-31 22:00"),  # local: the new year
    ],
)
def test_a_moment_is_in_the_shift_that_began_last(moment: str, name: str) -> None:
    assert Shifts(THREE, BERLIN).at(utc(moment)).name == name


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
@pytest.mark.parametrize("begins", [THREE, ("02:30",), ("02:00", "03:00"), ("00:00", "02:59")])
def test_each_shift_begins_once_where_the_clock_is_changed(
    day: str, begins: tuple[str, ...]
) -> None:
    shifts, start = Shifts(begins, BERLIN), utc(f"{day}T15:00")
    seen = [shifts.at(start + timedelta(minutes=k)) for k in range(48 * 60)]
    changes = [b.name for a, b in pairwise(seen) if a != b]
    left_out = day == "2026-03-28" and begins == ("02:00", "03:00")  # both at 03:00
    assert len(changes) == len(set(changes)) == 2 * len(begins) - left_out
    assert [shift.began for shift in seen] == sorted(shift.began for shift in seen)
    assert [shift.name for shift in seen] == sorted(shift.name for shift in seen)


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = BERLIN
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_without_a_zone_the_machines_local_time_counts() -> None:
    """The same as with the zone named, in winter, in summer and between."""
    here, named = Shifts(("02:30", "14:00")), Shifts(("02:30", "14:00"), BERLIN)
    for start in ("2026-03-29T00:00", "2026-10-25T00:00", "2026-07-01T00:00"):
        for k in range(0, 26 * 60, 7):
            moment = utc(start) + timedelta(minutes=k)
            assert here.at(moment) == named.at(moment)


@pytest.mark.parametrize("wrong", [(), ("6:00",), ("24:00",), ("06:00", "06:00"), ("six",)])
def test_what_is_no_time_of_the_day_is_refused(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        CountingSettings(shifts=wrong)


@pytest.mark.parametrize("wrong", ["Europe/Nowhere", "../../etc/passwd", "", "/etc/localtime"])
def test_what_is_no_time_zone_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        CountingSettings(timezone=wrong)
