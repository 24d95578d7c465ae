"""A thread that writes what others hand over, so that no verdict waits for a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

from vision_edge.runtime.errors import VisionEdgeError

T = TypeVar("T")
log = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


class Writer(Generic[T]):
    """Writes one thing after the other; what fails is told, and does not end it.

    Args:
        name: The thread's.
        write: Writes one.
        failed: Called with what could not be written.
        idle: Called when there was nothing to write for a second.
        ahead: How many may wait.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[T], object],
        failed: Callable[[T], object],
        idle: Callable[[], object],
        ahead: int = 8,
    ) -> None:
        self._write, self._failed, self._idle, self._name = write, failed, idle, name
        self._queue: Queue[T | None] = Queue(ahead)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.qsize()

    def put(self, item: T) -> bool:
        """Hand one over, and never wait; whether there was room."""
        try:
            self._queue.put_nowait(item)
        except Full:
            return False
        return True

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was handed over is written."""
        until = time.monotonic() + timeout
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def close(self) -> bool:
        """Write what was handed over, and end; whether it has ended."""
        self.flush()
        try:
            self._queue.put_nowait(None)
        except Full:
            return False
        self._thread.join(1.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_IDLE_SECONDS)
            except Empty:
                self._attempt(self._idle)
                continue
            try:
                if item is None:
                    return
                self._write(item)
            except VisionEdgeError as error:  # a full disk, say: the next may fit
                log.error("%s: something could not be written: %s", self._name, error)
                self._failed(item)  # type: ignore[arg-type]
            except Exception:
                log.exception("%s: something could not be written", self._name)
                self._failed(item)  # type: ignore[arg-type]
            finally:
                self._queue.task_done()

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except VisionEdgeError as error:
            log.error("%s failed: %s", self._name, error)
        except Exception:
            log.exception("%s failed", self._name)
