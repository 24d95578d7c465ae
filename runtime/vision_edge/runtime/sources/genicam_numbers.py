"""Numbers of a GenICam camera's frames: which answers which trigger, and which never came.

Source: GigE Vision 2.0, GVSP block ids (16 bits, 0 left out; 64 bits in the extended form). Cameras
begin at different ones, so the first frame that comes whole sets where counting starts.
"""

from __future__ import annotations

import threading
import time

PATIENCE = 2.0
"""Seconds beside the exposure after which a software trigger's frame does not come any more."""


class FrameNumbers:
    """Counts frames: by the camera's own ids, or by the software triggers that they answer.

    A camera may ignore a trigger that comes too early, without a gap in its ids. So one software
    trigger is under way at a time, and the frame that comes is its answer.

    Args:
        patience: Seconds that a software trigger's frame may take.

    Attributes:
        fired: Software triggers sent.
        lost: Frames that did not arrive whole, too late, or not at all.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.fired = self.lost = 0
        self._patience = patience
        self._next = self._torn = 0
        self._last_id: int | None = None
        self._changed = threading.Condition()
        self._fired_at = 0.0

    def fire(self) -> int:
        """Note a software trigger that is about to be sent; return the number of its frame.

        Waits for the frame of the one before, or until that one is given up.
        """
        with self._changed:
            while self._next < self.fired:
                if not self._changed.wait(self._fired_at + self._patience - time.monotonic()):
                    self._give_up()
            self._fired_at = time.monotonic()
            self.fired += 1
            return self.fired - 1

    def taken_back(self) -> None:
        """Forget the last trigger: the camera did not take it."""
        with self._changed:
            self.fired = max(self.fired - 1, self._next)

    def overdue(self) -> None:
        """Give the trigger under way up if its time is over."""
        with self._changed:
            if time.monotonic() - self._fired_at > self._patience:
                self._give_up()

    def torn(self) -> None:
        """Note a frame that did not arrive whole. Its id is not to be believed."""
        with self._changed:
            if self.fired:
                self._give_up()
            else:
                self.lost += 1
                self._torn += 1

    def whole(self, identifier: int) -> int | None:
        """Note a frame that arrived whole; return its number, from 0.

        None where software triggers are sent, and it answers none: one that came too late.
        """
        with self._changed:
            if not self.fired:
                return self._by_id(identifier)
            if self._next == self.fired:
                return None
            self._answered()
            return self.fired - 1

    def over(self) -> None:
        """Note that nothing comes any more."""
        with self._changed:
            self._give_up()

    def _give_up(self) -> None:
        self.lost += self.fired - min(self._next, self.fired)
        self._answered()

    def _answered(self) -> None:
        self._next = max(self._next, self.fired)
        self._changed.notify_all()

    def _by_id(self, identifier: int) -> int:
        """Only a whole frame's id is heeded: a torn one may have that of an older frame, or 0.

        Frames that came torn since the last whole one are counted already.
        """
        last = self._last_id
        step = 0 if last is None else identifier - last
        if step <= 0 and last is not None and last > 0xFF00 and identifier < 0xFF:
            step += 0xFFFF
        missing = max(step, 1) - 1
        if last is None:  # frames before the first that came are none of ours
            missing = self._torn
        self.lost += max(missing - self._torn, 0)
        self._last_id, self._torn = identifier, 0
        self._next += missing + 1
        return self._next - 1
