"""The stream clock: a frame that was held up on its way is as old as it is."""

from __future__ import annotations

import pytest

from vision_edge.runtime.sources.stream_clock import DRIFT, StreamClock
from vision_edge.runtime.system.backoff import Backoff


def steady(clock: StreamClock, count: int, start: float = 1000.0, period: float = 0.04) -> float:
    """Stamp `count` frames that arrive as they are filmed; return the next one's arrival."""
    for index in range(count):
        clock.stamp(start + index * period, 7.0 + index * period)
    return start + count * period


def test_a_steady_stream_is_as_old_as_its_arrival() -> None:
    clock = StreamClock()
    arrival = steady(clock, 50)
    assert clock.stamp(arrival, 7.0 + 50 * 0.04) == pytest.approx(arrival, abs=1e-6)


def test_a_delayed_frame_is_older_by_its_delay() -> None:
    clock = StreamClock()
    arrival = steady(clock, 50)
    assert clock.stamp(arrival + 0.8, 7.0 + 50 * 0.04) == pytest.approx(arrival, abs=1e-3)


def test_a_burst_after_a_stall_is_old_frame_by_frame() -> None:
    clock = StreamClock()
    arrival = steady(clock, 50)
    late = [clock.stamp(arrival + 2.0 + k * 0.001, 7.0 + (50 + k) * 0.04) for k in range(50)]
    ages = [arrival + 2.0 + k * 0.001 - stamp for k, stamp in enumerate(late) if stamp is not None]
    assert len(ages) == 50
    assert ages[0] == pytest.approx(2.0, abs=0.01)
    assert ages == sorted(ages, reverse=True)
    assert ages[-1] < 0.12


def test_the_backlog_of_a_connection_gets_no_stamp() -> None:
    clock = StreamClock()
    burst = [clock.stamp(1000.0 + k * 0.001, k * 0.04) for k in range(50)]
    assert burst == [None] * 50
    later = [clock.stamp(1000.05 + k * 0.04, (50 + k) * 0.04) for k in range(20)]
    assert later[0] is None
    assert later[-1] is not None


@pytest.mark.parametrize("drift", [-0.5 * DRIFT, 0.5 * DRIFT])
def test_a_camera_clock_that_drifts_is_followed(drift: float) -> None:
    clock, age = StreamClock(), 0.0
    for index in range(20_000):  # 800 s
        arrival = 1000.0 + index * 0.04
        stamp = clock.stamp(arrival, index * 0.04 * (1 - drift))
        age = arrival - (stamp or arrival)
    assert 0.0 <= age < 0.001


def test_without_timestamps_a_frame_is_as_old_as_its_arrival_but_the_first_are_dropped() -> None:
    clock = StreamClock()
    assert clock.stamp(10.0, None) is None
    assert clock.stamp(10.001, None) is None
    assert clock.stamp(10.04, None) == 10.04
    assert clock.stamp(10.041, None) == 10.041


def test_timestamps_that_stand_still_are_not_believed() -> None:
    clock = StreamClock()
    stamps = [clock.stamp(10.0 + k, 5.0) for k in range(10)]
    assert stamps[2:] == [10.0 + k for k in range(2, 10)]


def test_pauses_grow_to_a_limit_with_jitter_and_start_anew() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    pauses = [backoff.pause() for _ in range(8)]
    limits = [1, 2, 4, 8, 8, 8, 8, 8]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert len(set(pauses)) == 8
    backoff.reset()
    assert backoff.pause() <= 1.0
