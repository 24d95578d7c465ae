"""The hub: what happens is told to all who listen, and nobody who is slow holds it up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

Event = tuple[str, dict[str, Any]]
"""What happened, and its JSON values: `verdict`, `parts`, `state`, `view`, `gallery`, `review` or
`counts`."""


class Subscription:
    """One listener's queue; iterate over it, or call `get`. When it is full the oldest goes.

    Args:
        size: Events that it holds.
        left: Called once when it is closed.

    Attributes:
        dropped: Events that were lost because the listener was slow.
    """

    def __init__(self, size: int, left: Callable[[Subscription], None]) -> None:
        self.dropped = 0
        self.closed = False
        self._size, self._left = size, left
        self._events: deque[Event] = deque()
        self._condition = threading.Condition()
        self._on_event: Callable[[], object] | None = None

    def __iter__(self) -> Iterator[Event]:
        """Deliver events until it is closed."""
        while not self.closed:
            event = self.get(timeout=1.0)
            if event is not None:
                yield event

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> bool:
        """Add an event; whether there was room without dropping one."""
        with self._condition:
            full = len(self._events) >= self._size
            if full:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)
            self._condition.notify()
        self._wake()
        return not full

    def get(self, timeout: float = 0.0) -> Event | None:
        """Return the oldest event, or None if there is none within `timeout` seconds."""
        until = time.monotonic() + timeout
        with self._condition:
            while not self._events and not self.closed:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._condition.wait(left)
            return self._events.popleft() if self._events else None

    def notify(self, on_event: Callable[[], object]) -> None:
        """Have `on_event` called after each event and on closing, in whichever thread it comes."""
        self._on_event = on_event

    def close(self) -> None:
        """End it; a waiting listener goes on at once."""
        if self.closed:
            return
        with self._condition:
            self.closed = True
            self._condition.notify_all()
        self._wake()
        self._left(self)

    def _wake(self) -> None:
        if self._on_event is not None:
            self._on_event()


class Hub:
    """Passes events on to its subscriptions, from any thread.

    Attributes:
        dropped: Events that slow listeners lost, over all subscriptions since the start.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it tells nobody any more."""
        return self._closed

    @property
    def subscribers(self) -> int:
        """How many listen."""
        return len(self._subscriptions)

    def subscribe(self, size: int = 256) -> Subscription:
        """Return a new subscription; after `close` it is closed from the start."""
        subscription = Subscription(size, self._leave)
        with self._lock:
            if not self._closed:
                self._subscriptions.append(subscription)
                return subscription
        subscription.close()
        return subscription

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Tell all subscriptions; never waits for one."""
        with self._lock:
            subscriptions = tuple(self._subscriptions)
        for subscription in subscriptions:
            if not subscription.put((kind, data)):
                self.dropped += 1

    def close(self) -> None:
        """End all subscriptions."""
        with self._lock:
            self._closed = True
            subscriptions = tuple(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()

    def _leave(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
