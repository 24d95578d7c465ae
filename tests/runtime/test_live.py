"""Live sources: only the latest frame, each at most once, and a lost camera is an error."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from vision_edge.runtime import live
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.live import LiveSource


class Camera:
    """A camera whose frames a test hands in: numbers, `None` for the end, or an exception."""

    def __init__(self, fps: float = 25.0) -> None:
        self.fps = fps
        self.pending: queue.Queue[Any] = queue.Queue()
        self.reads = 0
        self.released = 0
        self.unplugged = threading.Event()

    def get(self, _property: int) -> float:
        return self.fps

    def read(self) -> tuple[bool, Any]:
        self.reads += 1
        while not self.unplugged.is_set():
            try:
                item = self.pending.get(timeout=0.002)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            return item is not None, item if item is None else self.image(item)
        return False, None

    def release(self) -> None:
        self.released += 1

    def image(self, number: int) -> Any:
        return np.full((2, 2, 3), number, np.uint8)

    def send(self, *items: Any) -> None:
        """Hand in frames and wait until the reader has taken them all and asks for more."""
        target = self.reads + len(items) - (1 if self.reads else 0) + 1
        for item in items:
            self.pending.put(item)
        wait_for(lambda: self.reads >= target or self.unplugged.is_set())


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.001)


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    made = Camera()
    monkeypatch.setattr(live, "_open", lambda device, name: made)
    yield made
    made.unplugged.set()


@pytest.fixture
def source(camera: Camera) -> Iterator[LiveSource]:
    opened = LiveSource(0, "cam", lost_after=0.3)
    yield opened
    camera.unplugged.set()
    opened.close()


def numbers(frames: Iterator[Any], count: int) -> list[tuple[int, int]]:
    """Return the next frames' numbers, and the numbers their images show."""
    taken = [next(frames) for _ in range(count)]
    return [(frame.number, int(frame.image[0, 0, 0])) for frame in taken]


def test_a_slow_consumer_gets_the_latest_frame(camera: Camera, source: LiveSource) -> None:
    frames = iter(source)
    camera.send(0, 1, 2, 3, 4)
    assert numbers(frames, 1) == [(4, 4)]
    camera.send(5, 6, 7)
    assert numbers(frames, 1) == [(7, 7)]
    camera.send(8)
    assert numbers(frames, 1) == [(8, 8)]


def test_a_quick_consumer_waits_and_sees_no_frame_twice(camera: Camera, source: LiveSource) -> None:
    seen: list[tuple[int, int]] = []
    consumer = threading.Thread(target=lambda: seen.extend(numbers(iter(source), 6)))
    consumer.start()
    for number in range(6):
        camera.send(number)
        wait_for(lambda number=number: len(seen) == 6 or number < 5)
        time.sleep(0.01)
    consumer.join(timeout=5)
    assert seen == [(k, k) for k in range(6)]


def test_under_load_frames_are_skipped_but_never_repeated_or_reordered(
    camera: Camera, source: LiveSource
) -> None:
    def film() -> None:
        for number in range(120):
            camera.pending.put(number)
            time.sleep(0.0005)

    film_thread = threading.Thread(target=film)
    film_thread.start()
    seen: list[int] = []
    for frame in source:
        assert frame.number == frame.image[0, 0, 0]
        seen.append(frame.number)
        if frame.number == 119:
            break
        wait_for(lambda at=frame.number: camera.reads > min(at + 4, 120))  # three more by then
    film_thread.join()
    assert seen == sorted(set(seen))
    assert 2 <= len(seen) <= 41


def test_a_frame_is_stamped_when_the_camera_hands_it_over(
    camera: Camera, source: LiveSource
) -> None:
    before = time.monotonic()
    camera.send(0)
    after = time.monotonic()
    time.sleep(0.05)  # the consumer comes late; the frame is as old as it is
    frame = next(iter(source))
    assert before <= frame.captured <= after
    assert (frame.source, source.name, source.live) == ("cam", "cam", True)


def test_silence_is_a_lost_source(camera: Camera, source: LiveSource) -> None:
    frames = iter(source)
    camera.send(0)
    next(frames)
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"'cam' is lost: no frame for 0\.3 s") as caught:
        next(frames)
    assert 0.25 < time.monotonic() - started < 1.5
    assert "cable" in str(caught.value)


def test_a_camera_that_never_sends_is_lost_too(
    source: LiveSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_FRAME_TIMEOUT", 0.05)
    with pytest.raises(SourceError, match=r"no frame for 0\.05 s"):
        next(iter(source))


def test_the_first_frame_may_take_longer_than_the_next(
    camera: Camera, source: LiveSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_FRAME_TIMEOUT", 5.0)
    timer = threading.Timer(0.5, lambda: camera.pending.put(0))
    timer.start()
    assert numbers(iter(source), 1) == [(0, 0)]
    timer.join()


@pytest.mark.parametrize("end", [None, cv2.error("corrupt frame")])
def test_an_ended_stream_gives_its_last_frame_and_then_an_error(
    camera: Camera, source: LiveSource, end: Any
) -> None:
    frames = iter(source)
    camera.send(0)
    camera.pending.put(end)
    wait_for(lambda: not source._thread.is_alive())
    assert numbers(frames, 1) == [(0, 0)]
    with pytest.raises(SourceError, match="it stopped sending"):
        next(frames)


def test_closing_ends_the_iteration_of_a_waiting_consumer(source: LiveSource) -> None:
    ended: list[list[Any]] = []
    consumer = threading.Thread(target=lambda: ended.append(list(source)))
    consumer.start()
    time.sleep(0.02)
    source.close()
    consumer.join(timeout=5)
    assert ended == [[]]


def test_closing_joins_the_thread_and_releases_the_device_once_it_is_free(camera: Camera) -> None:
    source = LiveSource(0, "cam", lost_after=2.0)
    camera.send(0)
    camera.pending.put(1)  # lets the reader come back and see that it is to stop
    source.close()
    assert not source._thread.is_alive()
    assert camera.released == 1


def test_a_hung_camera_does_not_hang_its_closing(camera: Camera) -> None:
    source = LiveSource(0, "cam", lost_after=0.1)
    wait_for(lambda: camera.reads == 1)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 1.0
    assert camera.released == 0  # it is still being read: releasing it now would crash
    camera.unplugged.set()
    source._thread.join(timeout=2)


def test_no_threads_are_left_after_many_openings(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras: list[Camera] = []

    def connect(device: int | str, name: str) -> Camera:
        cameras.append(Camera())
        cameras[-1].pending.put(0)
        cameras[-1].pending.put(1)
        return cameras[-1]

    monkeypatch.setattr(live, "_open", connect)
    before = threading.active_count()
    for _ in range(50):
        source = LiveSource(0, "cam")
        next(iter(source))
        cameras[-1].unplugged.set()
        source.close()
    assert threading.active_count() == before
    assert [camera.released for camera in cameras] == [1] * 50


def test_the_reader_does_not_keep_a_program_alive(source: LiveSource) -> None:
    assert source._thread.daemon
    assert source._thread.name == "source cam"


@pytest.mark.parametrize(
    ("reported", "fps"),
    [(25.0, 25.0), (0.0, None), (-1.0, None), (1e6, None), (float("nan"), None)],
)
def test_an_absurd_frame_rate_is_no_frame_rate(
    monkeypatch: pytest.MonkeyPatch, reported: float, fps: float | None
) -> None:
    camera = Camera(reported)
    monkeypatch.setattr(live, "_open", lambda device, name: camera)
    camera.unplugged.set()
    source = LiveSource(0, "cam")
    assert source.fps == fps
    source.close()
