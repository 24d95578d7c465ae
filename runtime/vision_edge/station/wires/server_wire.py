"""What the wires that are servers share: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.backoff import Backoff
from vision_edge.station.core.wire import Commands, WireHealth, WireState

_LOG = logging.getLogger(__name__)


class ServerWire(ABC):
    """A wire that others connect to and read; it holds the latest verdicts and queues none.

    Args:
        name: The wire's name.
        where: Address and port, for people.
    """

    def __init__(self, name: str, where: str) -> None:
        self._name, self._where = name, where
        self._said: tuple[WireState, str] = ("connecting", "not started")
        self._commands = Commands(lambda source: None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wire {name}", daemon=True)

    @property
    def name(self) -> str:
        """What to call it on the page and in the metrics."""
        return self._name

    def start(self, commands: Commands) -> None:
        """Start serving; a port that is taken is tried again."""
        self._commands = commands
        self._thread.start()

    def health(self) -> WireHealth:
        """Return how it is doing."""
        return WireHealth(self._name, *self._said)

    def close(self) -> None:
        """Stop serving."""
        self._closing.set()
        if self._thread.ident is None:
            return
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # must not end without a word
            _LOG.exception("%s: unexpected", self)
            self._say("down", f"unexpected: {error!r}")

    async def _main(self) -> None:
        """Serve until closed; after a failure, again."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        backoff = Backoff(first=1.0, longest=30.0)
        while not self._closing.is_set():
            try:
                await self._serve(self._stop)
            except (OSError, VisionEdgeError, RuntimeError) as error:
                reason = error.what if isinstance(error, VisionEdgeError) else str(error)
                self._say("down", f"{self._where}: {reason or type(error).__name__}")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), backoff.pause())

    @abstractmethod
    async def _serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; call `_say` once it listens."""

    async def _trigger(self, source: str | None) -> str | None:
        """Have the station judge; return why it refuses, or None."""
        return await self._asked_for("a trigger", self._commands.trigger, source)

    async def _reset_counts(self) -> str | None:
        """Have the station count parts anew; return why it refuses, or None."""
        return await self._asked_for("a reset", self._commands.reset_counts, self._name)

    async def _asked_for(self, what: str, command: Callable[..., None], *given: Any) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, command, *given)
        except VisionEdgeError as error:
            _LOG.warning("%s: %s was refused: %s", self, what, error.what)
            return error.what
        return None

    async def _expect(self, source: str, product: str | None) -> str | None:
        """Have a source show a product from now on; return why the station refuses, or None."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self._commands.expect, source, product, False)
        except VisionEdgeError as error:
            _LOG.warning("%s: an expected product was refused: %s", self, error.what)
            return error.what
        return None

    def _say(self, state: WireState, detail: str) -> None:
        """Note how it is doing, and log every change."""
        if (state, detail) != self._said:
            _LOG.log(logging.INFO if state == "ok" else logging.WARNING, "%s: %s", self, detail)
        self._said = (state, detail)

    def __str__(self) -> str:
        return f"wire {self._name}"
