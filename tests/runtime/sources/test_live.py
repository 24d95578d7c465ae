"""Live sources: only the latest frame, each at most once; a lost camera is found again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources.grabber import Grabbed, Grabber, GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings, LiveSource, LiveState
from vision_edge.runtime.sources.several import SeveralCameras

QUICK = LiveSettings(
    stale_after=0.3,
    lost_after=0.6,
    give_up_after=20.0,  # a test that waits in vain fails
    grabber=GrabberOptions(read_timeout=0.6),
)

CALM = LiveSettings(
    stale_after=8.0,  # a busy machine must not make a frame stale
    lost_after=10.0,
    give_up_after=20.0,
    grabber=GrabberOptions(read_timeout=0.6),
)


class Camera(Grabber):
    """A camera whose frames a test hands in, over as many connections as are asked for.

    An item is a number, `None` for a connection that breaks, or (number, timestamp).
    """

    def __init__(self, fps: float | None = 25.0) -> None:
        self.fps = fps
        self.pending: queue.Queue[Any] = queue.Queue()
        self.reads = 0
        self.opened = 0
        self.closed = 0
        self.patience = 10.0
        self.refuse = threading.Event()
        self.unplugged = threading.Event()

    def open(self, _address: object, name: str, _options: GrabberOptions) -> Camera:
        if self.refuse.is_set():
            raise SourceError(f"no camera or stream answers at {name!r}")
        self.opened += 1
        return self

    def grab(self) -> Grabbed | None:
        self.reads += 1
        limit = time.monotonic() + self.patience
        while not self.unplugged.is_set() and time.monotonic() < limit:
            try:
                item = self.pending.get(timeout=0.002)
            except queue.Empty:
                continue
            if item is None:
                return None
            number, timestamp = item if isinstance(item, tuple) else (item, None)
            return Grabbed(np.full((2, 2, 3), number, np.uint8), timestamp)
        return None

    def close(self) -> None:
        self.closed += 1

    def send(self, *items: Any) -> None:
        """Hand in frames and wait until the reader has taken them all and asks for more."""
        target = self.reads + len(items) - (1 if self.reads else 0) + 1
        for item in items:
            time.sleep(0.006)  # a frame that was not waited for is a connection's backlog
            self.pending.put(item)
        wait_for(lambda: self.reads >= target or self.unplugged.is_set())

    def film_from(self, seconds: float) -> None:
        """After a silence, hand in frame 200 again and again, until the camera is unplugged."""

        def film() -> None:
            time.sleep(seconds)
            while not self.unplugged.is_set():
                self.pending.put(200)
                time.sleep(0.02)

        threading.Thread(target=film, daemon=True).start()


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.001)


@pytest.fixture
def camera() -> Iterator[Camera]:
    made = Camera()
    yield made
    made.unplugged.set()


@pytest.fixture
def source(camera: Camera) -> Iterator[LiveSource]:
    opened = LiveSource(0, "cam", CALM, opener=camera.open)
    camera.send(255, 255, 255, 255)  # the first frame of a connection only starts its clock
    yield opened
    camera.unplugged.set()
    opened.close()


def shown(frames: Iterator[Any], count: int) -> list[int]:
    """Return what the next frames show."""
    return [int(next(frames).image[0, 0, 0]) for _ in range(count)]


def test_a_slow_consumer_gets_the_latest_frame(camera: Camera, source: LiveSource) -> None:
    frames = iter(source)
    camera.send(0, 1, 2, 3, 4)
    assert shown(frames, 1) == [4]
    camera.send(5, 6, 7)
    assert shown(frames, 1) == [7]
    camera.send(8)
    assert shown(frames, 1) == [8]


def test_under_load_frames_are_skipped_but_never_repeated_or_reordered(
    camera: Camera, source: LiveSource
) -> None:
    def film() -> None:
        for number in range(120):
            camera.pending.put(number)
            time.sleep(0.0005)

    film_thread = threading.Thread(target=film)
    film_thread.start()
    seen: list[tuple[int, int]] = []
    for frame in source:
        seen.append((frame.number, int(frame.image[0, 0, 0])))
        if seen[-1][1] == 119:
            break
        time.sleep(0.002)
    film_thread.join()
    seen = [pair for pair in seen if pair[1] != 255]
    numbers, images = zip(*seen, strict=True)
    assert list(images) == sorted(set(images))
    assert [number - image for number, image in seen] == [numbers[0] - images[0]] * len(seen)


def test_a_frame_is_stamped_when_the_camera_hands_it_over(
    camera: Camera, source: LiveSource
) -> None:
    before = time.monotonic()
    camera.send(0)
    after = time.monotonic()
    time.sleep(0.05)  # the consumer comes late; the frame is as old as it is
    frame = next(iter(source))
    assert before <= frame.captured <= after
    assert (frame.source, source.name, source.live, source.fps) == ("cam", "cam", True, 25.0)


def test_a_stale_frame_is_not_delivered_even_to_who_asks_late(camera: Camera) -> None:
    source = LiveSource(0, "cam", QUICK, opener=camera.open)
    camera.send(0, 1)
    time.sleep(QUICK.stale_after + 0.05)
    assert source.state in (LiveState.STALE, LiveState.LOST)
    camera.film_from(0.0)
    assert shown(iter(source), 1) == [200]
    camera.unplugged.set()
    source.close()


def test_silence_is_stale_then_lost_and_the_camera_is_connected_to_again(camera: Camera) -> None:
    told: list[LiveState] = []
    camera.patience = QUICK.lost_after
    source = LiveSource(0, "cam", QUICK, opener=camera.open, on_state=lambda s, _: told.append(s))
    assert source.state is LiveState.CONNECTING
    camera.send(1, 2)
    frames = iter(source)
    next(frames)
    camera.film_from(1.8)
    assert shown(frames, 1) == [200]
    assert camera.opened == camera.closed + 1 >= 2
    assert told[:3] == [LiveState.LIVE, LiveState.STALE, LiveState.LOST]
    assert told[-1] is LiveState.LIVE
    camera.unplugged.set()
    source.close()


def test_frame_numbers_go_on_after_a_broken_connection(camera: Camera, source: LiveSource) -> None:
    camera.send(7)
    frames = iter(source)
    first = next(frames)
    camera.pending.put(None)
    wait_for(lambda: camera.opened == 2)
    camera.film_from(0.0)
    second = next(frames)
    assert second.number > first.number
    assert int(second.image[0, 0, 0]) == 200
    assert camera.closed == 1


def test_the_backlog_of_a_new_connection_is_dropped(camera: Camera) -> None:
    for number in range(50):
        camera.pending.put((number, 100.0 + number / 25))
    source = LiveSource(0, "cam", QUICK, opener=camera.open)

    def film() -> None:
        for number in range(50, 80):
            camera.pending.put((number, 100.0 + number / 25))
            time.sleep(0.04)

    thread = threading.Thread(target=film)
    thread.start()
    assert next(iter(source)).image[0, 0, 0] >= 50
    thread.join()
    source.close()


def test_frames_that_arrive_ever_later_end_the_connection(camera: Camera) -> None:
    source = LiveSource(0, "cam", QUICK, opener=camera.open)
    for number in range(100):  # a network at a third of the rate that the camera films at
        camera.pending.put((number % 256, 50.0 + number * 0.01))
        time.sleep(0.03)
        if camera.opened > 1:
            break
    assert camera.opened > 1
    source.close()


def test_a_camera_that_is_absent_at_the_start_is_an_error_unless_it_is_waited_for(
    camera: Camera,
) -> None:
    camera.refuse.set()
    with pytest.raises(SourceError, match="no camera or stream answers at 'cam'"):
        LiveSource(0, "cam", QUICK, opener=camera.open)
    waiting = LiveSettings(wait=True, grabber=QUICK.grabber)
    source = LiveSource(0, "cam", waiting, opener=camera.open)
    assert source.state is LiveState.CONNECTING
    camera.refuse.clear()
    camera.film_from(0.0)
    assert shown(iter(source), 1) == [200]
    assert camera.opened == 1
    source.close()


def test_who_gives_up_is_told_why(camera: Camera) -> None:
    settings = LiveSettings(lost_after=0.2, give_up_after=0.4, grabber=QUICK.grabber)
    source = LiveSource(0, "cam", settings, opener=camera.open)
    camera.refuse.set()
    camera.pending.put(None)
    with pytest.raises(
        SourceError, match=r"'cam' is lost: no new frame for 0\.\d s .(no camera|it stopped)"
    ):
        next(iter(source))
    source.close()


def test_closing_ends_the_iteration_of_a_waiting_consumer(source: LiveSource) -> None:
    ended: list[list[Any]] = []
    frames = iter(source)
    consumer = threading.Thread(target=lambda: ended.append(list(frames)))
    consumer.start()
    time.sleep(0.02)
    source.close()
    consumer.join(timeout=5)
    assert len(ended) == 1


def test_a_hung_camera_does_not_hang_its_closing_and_is_released_once_it_is_free() -> None:
    free, released, reading = threading.Event(), threading.Event(), threading.Event()

    class Hung(Grabber):
        fps = None

        def grab(self) -> None:
            reading.set()
            free.wait()

        def close(self) -> None:
            released.set()

    settings = LiveSettings(grabber=GrabberOptions(read_timeout=0.1))
    source = LiveSource(0, "cam", settings, opener=lambda *_: Hung())
    assert reading.wait(5.0)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 5.0
    assert not released.is_set()  # it is still being read: releasing it now would crash
    free.set()
    assert released.wait(2.0)


def test_no_threads_and_no_devices_are_left_after_many_openings() -> None:
    before = threading.active_count()
    cameras = []
    for _ in range(30):
        camera = Camera()
        source = LiveSource(0, "cam", CALM, opener=camera.open)
        camera.film_from(0.0)
        next(iter(source))
        camera.unplugged.set()
        source.close()
        cameras.append(camera)
    wait_for(lambda: threading.active_count() == before)
    assert all(camera.opened == camera.closed for camera in cameras)


def test_several_cameras_take_turns(camera: Camera) -> None:
    condition = threading.Condition()
    cameras = [camera, Camera()]
    sources = [
        LiveSource(k, f"cam{k}", CALM, opener=made.open, condition=condition)
        for k, made in enumerate(cameras)
    ]
    both = SeveralCameras(sources, condition)
    for made in cameras:
        made.send(1, 2, 2, 2)
    frames = iter(both)
    assert {next(frames).source, next(frames).source} == {"cam0", "cam1"}
    cameras[1].send(3)
    frame = next(frames)
    assert (frame.source, int(frame.image[0, 0, 0])) == ("cam1", 3)
    assert both.name == "cam0, cam1"
    for made in cameras:
        made.unplugged.set()
    both.close()


def test_the_reader_does_not_keep_a_program_alive(source: LiveSource) -> None:
    assert source._thread.daemon
    assert source._thread.name == "source cam"
