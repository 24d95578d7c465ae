"""Which frame of a camera answers which trigger, whatever the camera's ids and the wire do."""

from __future__ import annotations

import threading

from support.station import eventually

from vision_edge.runtime.sources.genicam_numbers import FrameNumbers


def test_ids_that_were_left_out_are_counted_as_lost() -> None:
    numbers = FrameNumbers()
    assert [numbers.whole(identifier) for identifier in (700, 701, 704)] == [0, 1, 4]
    assert numbers.lost == 2
    numbers.torn()
    assert numbers.whole(706) == 6
    assert numbers.lost == 3, "the torn one is among those left out"


def test_ids_of_16_bits_begin_anew_at_1() -> None:
    numbers = FrameNumbers()
    assert [numbers.whole(identifier) for identifier in (0xFFFE, 0xFFFF, 1, 2)] == [0, 1, 2, 3]
    assert numbers.lost == 0


def test_a_trigger_that_the_camera_ignored_moves_no_other_ones_number() -> None:
    """Its ids go on without a gap, so they do not tell."""
    numbers = FrameNumbers(patience=0.05)
    assert numbers.fire() == 0
    assert numbers.whole(10) == 0
    assert numbers.fire() == 1  # ignored
    assert numbers.fire() == 2
    assert numbers.lost == 1
    assert numbers.whole(11) == 2


def test_a_second_trigger_waits_for_the_frame_of_the_first() -> None:
    numbers = FrameNumbers(patience=60.0)
    assert numbers.fire() == 0
    second: list[int] = []
    thread = threading.Thread(target=lambda: second.append(numbers.fire()))
    thread.start()
    thread.join(0.05)
    assert second == []
    assert numbers.whole(5) == 0
    thread.join(30)
    assert second == [1]
    numbers.torn()
    assert numbers.fire() == 2, "a torn frame was the answer of its trigger"
    assert numbers.lost == 1


def test_a_frame_that_nobody_asked_for_answers_nothing() -> None:
    numbers = FrameNumbers(patience=0.02)
    numbers.fire()
    eventually(lambda: numbers.overdue() or numbers.lost == 1)
    assert numbers.whole(1) is None, "it came after its trigger was given up"
    assert numbers.fire() == 1
    assert numbers.whole(2) == 1
    assert numbers.lost == 1


def test_triggers_without_a_frame_are_lost_with_the_connection() -> None:
    numbers = FrameNumbers(patience=60.0)
    numbers.fire()
    numbers.over()
    assert (numbers.fired, numbers.lost) == (1, 1)
    numbers.over()
    assert numbers.lost == 1
    assert numbers.fire() == 1
    numbers.taken_back()
    assert numbers.fire() == 1, "the camera refused it: its number is free"
