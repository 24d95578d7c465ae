"""Answers to commands: each within a stated time, with a product, unknown, or nothing seen."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Record

_PATIENCE = 120.0
"""Seconds that nothing waits beyond: more than any setting."""
_MOST = 16
"""Commands that wait for answers of their own; more share the last one's."""
_MOST_FIRED = 64
"""Pictures on command that wait for their answers: more would push each other out."""
Word = Literal["known", "unknown", "nothing"]


@dataclass(frozen=True)
class Answer:
    """What came of a command.

    Attributes:
        word: `known`, `unknown`, or `nothing`: no part was seen in time.
        record: The verdict; None where nothing was seen.
        seconds: From the command to the answer.
    """

    word: Word
    record: Record | None
    seconds: float


class Ask:
    """A command that waits for its answer.

    Attributes:
        trigger: The camera's trigger that it has fired; None: any verdict from now on is its own.
    """

    def __init__(self) -> None:
        self.trigger: int | None = None
        self.at = time.monotonic()
        self.answer: Answer | None = None
        self._done = threading.Event()

    def wait(self) -> Answer | None:
        """Return the answer as soon as there is one; None if it fails to come at all."""
        self._done.wait(_PATIENCE)
        return self.answer

    def give(self, word: Word, record: Record | None) -> None:
        """Give it its answer."""
        self.answer = Answer(word, record, time.monotonic() - self.at)
        self._done.set()


def _word(record: Record) -> Word:
    return "known" if record["known"] else "unknown"


class Answers:
    """The commands of one source. Those that wait at once get the same answer.

    Args:
        within: Seconds after which nothing was seen.
        told: Called with each answer; in the thread of who gives it.

    Attributes:
        count: Answers so far.
        latest: The last of them.
    """

    def __init__(self, within: float, told: Callable[[], None]) -> None:
        self.count = 0
        self.latest: Answer | None = None
        self._within, self._told = within, told
        self._lock = threading.Lock()
        self._early: deque[Record] = deque(maxlen=_MOST)
        self._waiting: list[Ask] = []

    def ask(self) -> Ask:
        """Begin to wait for an answer."""
        ask = Ask()
        with self._lock:
            if len(self._waiting) >= _MOST:
                return self._waiting[-1]
            self._waiting.append(ask)
        return self._timed(ask)

    def fire(self, fire: Callable[[], int]) -> Ask:
        """Take a picture, and begin to wait for the verdict on it and no other.

        Args:
            fire: Has the camera take it; returns its frame's number.

        Raises:
            VisionEdgeError: If too many wait already, or what `fire` raises.
        """
        if len(self._waiting) >= _MOST_FIRED:
            raise VisionEdgeError(
                f"{_MOST_FIRED} pictures on command wait for their verdicts already",
                fix="send commands more slowly, or set a shorter answer_within",
            )
        ask = Ask()
        ask.trigger = fire()
        with self._lock:
            early = [one for one in self._early if one["trigger"] == ask.trigger]
            if not early:
                self._waiting.append(ask)
        if early:  # the verdict was there before its number
            self._give([ask], _word(early[0]), early[0])
            return ask
        return self._timed(ask)

    def _timed(self, ask: Ask) -> Ask:
        timer = threading.Timer(self._within, self._late, (ask,))
        timer.daemon = True
        timer.start()
        return ask

    def verdict(self, record: Record) -> None:
        """Answer all that wait with a verdict: of pictures on command, those of its trigger."""
        trigger = record.get("trigger")
        with self._lock:
            waiting = [ask for ask in self._waiting if ask.trigger == trigger]
            self._waiting = [ask for ask in self._waiting if ask.trigger != trigger]
            if trigger is not None and not waiting:
                self._early.append(record)
        self._give(waiting, _word(record), record)

    def _late(self, ask: Ask) -> None:
        """Answer one that has waited long enough."""
        with self._lock:
            if ask not in self._waiting:
                return
            self._waiting.remove(ask)
        self._give([ask], "nothing", None)

    def _give(self, asks: list[Ask], word: Word, record: Record | None) -> None:
        for ask in asks:
            ask.give(word, record)
        if asks:
            self.latest, self.count = asks[0].answer, self.count + 1
            self._told()
