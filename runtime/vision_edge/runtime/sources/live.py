"""Live sources: a camera or stream, of which only the latest frame matters.

A camera that is triggered is the exception: each of its frames answers a signal, so they are kept
in order until they are taken.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources.frame import Frame
from vision_edge.runtime.sources.grabber import (
    CHECK,
    Grabbed,
    Grabber,
    GrabberOptions,
    Waiting,
    remedy_for,
)
from vision_edge.runtime.sources.opencv_grabber import open_grabber
from vision_edge.runtime.sources.stream_clock import StreamClock
from vision_edge.runtime.system.backoff import Backoff
from vision_edge.runtime.system.native_threads import NativeThread

Opener = Callable[[int | str, str, GrabberOptions], Grabber]


KEPT = 64
"""Frames of a triggered camera that wait to be taken; of more the oldest is lost, and counted."""


class LiveState(str, Enum):
    """What a live source is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    LOST = "lost"


@dataclass(frozen=True)
class LiveSettings:
    """How a live source behaves.

    Attributes:
        stale_after: Seconds without a new frame after which the source counts as stale, and the
            age that no frame it delivers exceeds.
        lost_after: Seconds without a new frame, or of a frame's delay on its way, after which the
            connection is given up and made anew.
        give_up_after: Seconds without a new frame after which iteration raises; None: never.
        wait: Whether a camera that does not answer at the start is waited for like a lost one.
        grabber: How connections are opened.

    Raises:
        SourceError: If a time is not above 0.
    """

    stale_after: float = 1.0
    lost_after: float = 5.0
    give_up_after: float | None = None
    wait: bool = False
    grabber: GrabberOptions = field(default_factory=GrabberOptions)

    def __post_init__(self) -> None:
        """Check the times."""
        for name in ("stale_after", "lost_after", "give_up_after"):
            seconds = getattr(self, name)
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise SourceError(
                    f"{name} is a time above 0; got {seconds}", fix="give it in seconds"
                )


@dataclass(frozen=True)
class _Connection:
    """A grabber in use.

    Attributes:
        grabber: It.
        first: The source's number of its frame 0.
        lost: Frames that connections before it lost.
    """

    grabber: Grabber
    first: int
    lost: int


class LiveSource:
    """A camera or stream, read by one thread into a one-slot buffer.

    A consumer that is slower than the camera skips frames and always gets the latest; one that is
    quicker waits for a new frame, and never sees the same one twice. Frames are stamped with the
    time of their capture (`StreamClock`). A connection that fails is made again, with pauses that
    grow. Of a triggered camera `KEPT` frames wait; those that are lost, on the wire or since they
    were not taken in time, are counted in `lost`.

    Args:
        address: Device index, device file or stream address.
        name: What to call it; without credentials.
        settings: How it behaves.
        on_state: Called with each new state and its reason, in the consumer's thread.
        opener: Opens a connection.

    Raises:
        SourceError: If the first connection cannot be made, unless `settings.wait`.
    """

    live = True

    def __init__(
        self,
        address: int | str,
        name: str,
        settings: LiveSettings | None = None,
        *,
        on_state: Callable[[LiveState, str], None] | None = None,
        opener: Opener = open_grabber,
        condition: threading.Condition | None = None,
    ) -> None:
        self.name = name
        self.fps: float | None = None
        self._settings = settings or LiveSettings()
        self._address, self._opener = address, opener
        self._on_state = on_state
        self._announced: tuple[LiveState, str] | None = None
        self._condition = condition or threading.Condition()
        self._slots: deque[Frame] = deque(maxlen=1)
        self._connection: _Connection | None = None
        self._lost = 0  # for want of a taker
        self._connected = False
        self._reason, self._remedy = "connecting", CHECK
        self._fresh_at = time.monotonic()
        self._had_frame = False
        self._closing = threading.Event()
        self._next = 0  # the next frame's number
        first = None if self._settings.wait else self._connect()
        self._thread = NativeThread(target=self._run, args=(first,), name=f"source {name}")
        self._thread.start()

    @property
    def state(self) -> LiveState:
        """What the source is doing now."""
        silent = time.monotonic() - self._fresh_at
        if not self._connected:
            return LiveState.LOST if self._had_frame else LiveState.CONNECTING
        if not self._had_frame and silent < self._settings.lost_after:
            return LiveState.CONNECTING
        if silent < self._settings.stale_after:
            return LiveState.LIVE
        return LiveState.STALE if silent < self._settings.lost_after else LiveState.LOST

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the latest frame, again and again, each at most once.

        Raises:
            SourceError: If no new frame comes for `give_up_after` seconds.
        """
        last = -1
        while (frame := self._take(last)) is not None:
            last = frame.number
            yield frame

    def close(self) -> None:
        """Stop the reader thread; it releases the device as soon as the driver lets go of it."""
        self._closing.set()
        with self._condition:
            self._condition.notify_all()
        self._thread.join(timeout=self._settings.grabber.read_timeout + 1.0)

    def newer_than(self, last: int) -> Frame | None:
        """Return the oldest frame kept whose number is above `last`, if it is not stale."""
        while self._slots:
            frame = self._slots[0]
            fresh = time.monotonic() - frame.captured <= self._settings.stale_after
            if frame.number > last and fresh:
                return frame
            if self._slots.maxlen == 1:
                return None
            self._slots.popleft()
            self._lost += frame.number > last
        return None

    @property
    def lost(self) -> int:
        """Frames that the camera took and nobody got; of a camera that numbers its frames."""
        return self._lost + self._lost_on_the_wire()

    def _lost_on_the_wire(self) -> int:
        now = self._connection
        return 0 if now is None else now.lost + now.grabber.lost

    def fire(self) -> int:
        """Send a software trigger; return the `number` of the frame that answers it.

        Where that frame gets lost, no other one has its number.

        Raises:
            SourceError: If the camera is not connected, or takes none.
        """
        now = self._connection
        if now is None or not self._connected:
            raise SourceError(f"camera {self.name!r} is not connected", fix=self._remedy)
        fire: Callable[[], int] | None = getattr(now.grabber, "fire", None)
        if fire is None:
            raise SourceError(
                f"camera {self.name!r} takes no software trigger",
                fix="give a GenICam camera with trigger=Software in its address",
            )
        return now.first + fire()

    def announce(self) -> None:
        """Tell `on_state` if the state has changed since the last call.

        Raises:
            SourceError: If no new frame came for `give_up_after` seconds.
        """
        state = self.state
        told = state is LiveState.LOST or (
            state is LiveState.CONNECTING and self._reason != "connecting"
        )
        current = (state, self._reason if told else "")
        if current != self._announced:
            self._announced = current
            if self._on_state is not None:
                self._on_state(*current)
        silent, limit = time.monotonic() - self._fresh_at, self._settings.give_up_after
        if limit is not None and silent > limit:
            raise SourceError(
                f"camera or stream {self.name!r} is lost: no new frame for {silent:.1f} s "
                f"({self._reason})",
                fix=self._remedy,
            )

    def _take(self, last: int) -> Frame | None:
        """Wait for a frame newer than number `last`; None once the source is closed."""
        while not self._closing.is_set():
            with self._condition:
                frame = self.newer_than(last)
                if frame is None:
                    self._condition.wait(0.1)
                    frame = self.newer_than(last)
            self.announce()
            if frame is not None:
                return frame
        return None

    def _connect(self) -> Grabber:
        grabber = self._opener(self._address, self.name, self._settings.grabber)
        self._connection = _Connection(grabber, self._next, self._lost_on_the_wire())
        self.fps, self._connected = grabber.fps, True
        return grabber

    def _run(self, grabber: Grabber | None) -> None:
        """Connect and read until closed; runs in the reader thread, which owns the grabber."""
        backoff = Backoff()
        while not self._closing.is_set():
            before = self._next
            try:
                grabber = grabber or self._connect()
                self._read(grabber)
            except SourceError as error:
                self._reason, self._remedy = error.what, remedy_for(error)
            finally:
                self._connected = False
                if grabber is not None:
                    self._release(grabber)
                grabber = None
            if self._next > before:
                backoff.reset()
            self._closing.wait(backoff.pause())
        if grabber is not None:  # closed before the first frame was asked for
            grabber.close()

    def _release(self, grabber: Grabber) -> None:
        """Close a grabber; the numbers of frames that triggers wait for are not given again."""
        grabber.close()
        now = self._connection
        if now is not None and now.grabber is grabber:
            self._next = max(self._next, now.first + grabber.fired)

    def _read(self, grabber: Grabber) -> None:
        """Put frames into the slots until the connection fails."""
        clock, first = StreamClock(), self._next
        with self._condition:
            self._slots = deque(self._slots, maxlen=KEPT if grabber.every_frame else 1)
        while not self._closing.is_set():
            grabbed = grabber.grab()
            arrived = time.monotonic()
            if grabbed is None:
                self._reason, self._remedy = "it stopped sending", CHECK
                break
            if isinstance(grabbed, Waiting):
                self._fresh_at, self._had_frame = arrived, True
                continue
            captured = _captured(grabbed, arrived, clock)
            if captured is None:  # the backlog of a new connection
                continue
            if arrived - captured > self._settings.lost_after:
                self._reason = f"its frames arrive {arrived - captured:.1f} s late"
                self._remedy = CHECK
                break
            number = self._next if grabbed.number is None else first + grabbed.number
            self._next = number + 1
            self._put(Frame(grabbed.image, self.name, number, captured))

    def _put(self, frame: Frame) -> None:
        with self._condition:
            if len(self._slots) == self._slots.maxlen == KEPT:
                self._lost += 1
            self._slots.append(frame)
            self._fresh_at, self._had_frame = frame.captured, True
            self._condition.notify_all()


def _captured(grabbed: Grabbed, arrived: float, clock: StreamClock) -> float | None:
    """Return when a frame was captured; None while a stream's backlog comes in."""
    if grabbed.captured is not None:
        return min(grabbed.captured, arrived)
    return clock.stamp(arrived, grabbed.timestamp)
