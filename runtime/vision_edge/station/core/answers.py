"""Answers to commands: each within a stated time, with a product, unknown, or nothing seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vision_edge.station.core.wire import Record

_PATIENCE = 120.0
"""Seconds that nothing waits beyond: more than any setting."""
_MOST = 16
"""Commands that wait for answers of their own; more share the last one's."""
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
    """A command that waits for its answer."""

    def __init__(self) -> None:
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
        self._waiting: list[Ask] = []

    def ask(self) -> Ask:
        """Begin to wait for an answer."""
        ask = Ask()
        with self._lock:
            if len(self._waiting) >= _MOST:
                return self._waiting[-1]
            self._waiting.append(ask)
        timer = threading.Timer(self._within, self._late, (ask,))
        timer.daemon = True
        timer.start()
        return ask

    def verdict(self, record: Record) -> None:
        """Answer all that wait with a verdict."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self._give(waiting, "known" if record["known"] else "unknown", record)

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
