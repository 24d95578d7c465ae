"""What the wires with an outbox share: one thread that delivers, and how it is doing."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

from vision_edge.runtime.system.backoff import Backoff
from vision_edge.station.core.wire import Commands, Record, WireHealth, WireState
from vision_edge.station.settings.connections import OutboxSettings
from vision_edge.station.wires.outbox import Outbox
from vision_edge.station.wires.payload import encoded, source_of

_CLOSE_S = 2.0  # to deliver what can be delivered
_LOG = logging.getLogger(__name__)


class OutboxWire(ABC):
    """A wire that delivers from an outbox, in a thread of its own.

    Args:
        name: The wire's name, also of its file `outbox-NAME.db`.
        state_dir: Folder for that file.
        settings: The outbox's limits.
        retain_s: Seconds that what is acknowledged is kept, to be sent again.
        longest: Seconds between two attempts, at most.

    Raises:
        VisionEdgeError: If the outbox cannot be opened.
    """

    def __init__(
        self,
        name: str,
        state_dir: Path,
        settings: OutboxSettings,
        retain_s: float = 0.0,
        longest: float = 30.0,
    ) -> None:
        self._name = name
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")  # monotonic; set when closing
        self._said: tuple[WireState, str] = ("connecting", "not started")
        self._commands = Commands(lambda source: None)
        self._given_up = 0
        self._backoff = Backoff(first=0.5, longest=longest)
        self._thread = threading.Thread(target=self._run, name=f"wire {name}", daemon=True)
        self.outbox = Outbox(
            state_dir / f"outbox-{name}.db",
            max_rows=settings.outbox_rows,
            max_bytes=settings.outbox_mb << 20,
            gather_s=settings.outbox_ms / 1000,
            retain_s=retain_s,
            on_commit=self._awake.set,
        )

    @property
    def name(self) -> str:
        """What to call it on the page and in the metrics."""
        return self._name

    def start(self, commands: Commands) -> None:
        """Start delivering; a peer that is away is no error."""
        self._commands = commands
        self._thread.start()

    def verdict(self, record: Record) -> None:
        """Queue one verdict: microseconds, whatever the disk and the peer do."""
        try:
            self.outbox.append(source_of(record), encoded(record))
        except ValueError as error:
            self._give_up(1, f"a verdict is no JSON: {error}")

    def health(self) -> WireHealth:
        """Return how it is doing."""
        state, detail = self._said
        problem, dropped = self.outbox.problem, self.outbox.dropped + self._given_up
        if problem is not None:
            state, detail = "down", problem
        elif dropped:
            detail += f"; {dropped} verdicts were given up since the start"
        if self.outbox.set_aside is not None:
            detail += f"; a damaged outbox was set aside as {self.outbox.set_aside.name}"
        return WireHealth(self._name, state, detail, self.outbox.queued, dropped)

    def close(self) -> None:
        """Deliver for at most two seconds, keep the rest on disk, and stop."""
        self._deadline = time.monotonic() + _CLOSE_S
        self._closing.set()
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_CLOSE_S + 1.0)
        self.outbox.close()

    def _run(self) -> None:
        while not self._finished():
            try:
                self._deliver()
            except sqlite3.Error as error:
                self._say("down", f"the outbox cannot be read: {error}")
            except Exception as error:  # a wire's thread must not end before its station does
                _LOG.exception("%s: unexpected", self)
                self._say("down", f"unexpected: {error!r}")
            if self._closing.is_set():
                return
            self._closing.wait(self._backoff.pause())

    @abstractmethod
    def _deliver(self) -> None:
        """Connect, and deliver until the connection breaks or `_finished`."""

    def _finished(self) -> bool:
        """Return whether to stop: closing, and nothing left, or no time left."""
        if not self._closing.is_set():
            return False
        return self.outbox.queued == 0 or time.monotonic() > self._deadline

    def _sleep(self, seconds: float) -> None:
        """Wait until something may have changed, or at most so long."""
        self._awake.wait(seconds)
        self._awake.clear()

    def _say(self, state: WireState, detail: str) -> None:
        """Note how it is doing, and log every change for the worse or the better."""
        if state != self._said[0] or (state != "ok" and detail != self._said[1]):
            _LOG.log(logging.INFO if state == "ok" else logging.WARNING, "%s: %s", self, detail)
        self._said = (state, detail)

    def _give_up(self, count: int, why: str) -> None:
        self._given_up += count
        _LOG.error("%s: %d verdicts given up: %s", self, count, why)

    def __str__(self) -> str:
        return f"wire {self._name}"
