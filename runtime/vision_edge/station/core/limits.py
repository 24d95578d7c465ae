"""Limits on how often: a bucket of requests for each client, and a brake on guessing passwords."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_CLIENTS = 10_000
Clock = Callable[[], float]


@dataclass
class Buckets:
    """A token bucket for each key; the least used keys are forgotten.

    Attributes:
        rate: Tokens a second.
        burst: Tokens that a full bucket holds.
        clock: Seconds, rising.
    """

    rate: float
    burst: float
    clock: Clock = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        with self._lock:
            now = self.clock()
            level, at = self._buckets.pop(key, (self.burst, now))
            level = min(self.burst, level + (now - at) * self.rate)
            wait = 0.0 if level >= 1.0 else (1.0 - level) / self.rate
            self._buckets[key] = (level if wait else level - 1.0, now)
            while len(self._buckets) > _CLIENTS:
                self._buckets.popitem(last=False)
            return wait


@dataclass
class LoginBrake:
    """Makes guessing slow: after some failures each further attempt has to wait, ever longer.

    Attributes:
        free: Failures without a wait.
        longest: Seconds that no wait exceeds.
        clock: Seconds, rising.
    """

    free: int = 5
    longest: float = 900.0
    clock: Clock = time.monotonic
    _failures: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, *keys: str) -> float:
        """Return how many seconds these must wait before they may try."""
        with self._lock:
            return max(0.0, *(self._until(key) - self.clock() for key in keys))

    def failed(self, *keys: str) -> None:
        """Count a failure."""
        with self._lock:
            for key in keys:
                count, _ = self._failures.pop(key, (0, 0.0))
                self._failures[key] = (count + 1, self.clock())
                while len(self._failures) > _CLIENTS:
                    self._failures.popitem(last=False)

    def worked(self, *keys: str) -> None:
        """Forget the failures of these."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _until(self, key: str) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if count < self.free:
            return 0.0
        return last + min(self.longest, 2.0 ** min(count - self.free + 1, 20))
