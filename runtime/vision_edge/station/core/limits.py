"""Limits on how often: a bucket of requests for each client, and a brake on guessing passwords."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_CLIENTS = 10_000
Clock = Callable[[], float]
Key = tuple[str | None, str | None]
"""An account and an address; None stands for any."""


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


class Budget:
    """So much of something may be in use at once; from any thread.

    Args:
        most: How much.

    Attributes:
        used: How much is.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._lock = threading.Lock()

    def take(self, amount: int) -> bool:
        """Take an amount, if there is so much left; whether there was."""
        with self._lock:
            fits = self.used + amount <= self.most
            self.used += amount * fits
            return fits

    def give(self, amount: int) -> None:
        """Give an amount back."""
        with self._lock:
            self.used -= amount


@dataclass
class LoginBrake:
    """Makes guessing slow: after some attempts each further one has to wait, ever longer.

    Counted are the attempts at an account from an address, those at an account from anywhere, and
    those from an address at any account. An attempt counts before it is tried, so that many at
    once are no more than many in turn.

    Attributes:
        free: Attempts without a wait.
        longest: Seconds that no wait for an account at an address exceeds.
        longest_alone: Seconds that no wait for an account, or for an address, exceeds: others
            share them, who must not be locked out for long.
        clock: Seconds, rising.
    """

    free: int = 5
    longest: float = 900.0
    longest_alone: float = 60.0
    clock: Clock = time.monotonic
    _attempts: OrderedDict[Key, tuple[int, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, *keys: Key) -> float:
        """Count an attempt and return 0, or return the seconds to wait before it may be made."""
        with self._lock:
            now = self.clock()
            wait = max(self._until(key) - now for key in keys)
            if wait > 0:
                return wait
            for key in keys:
                count, _ = self._attempts.pop(key, (0, 0.0))
                self._attempts[key] = (count + 1, now)
            while len(self._attempts) > _CLIENTS:
                self._attempts.popitem(last=False)
            return 0.0

    def worked(self, *keys: Key) -> None:
        """An attempt was right: forget those at its account, and take it from its address's."""
        with self._lock:
            for key in keys:
                count, last = self._attempts.pop(key, (0, 0.0))
                if key[0] is None and count > 1:
                    self._attempts[key] = (count - 1, last)

    def _until(self, key: Key) -> float:
        count, last = self._attempts.get(key, (0, 0.0))
        if count < self.free:
            return float("-inf")
        longest = self.longest_alone if None in key else self.longest
        return last + min(longest, 2.0 ** min(count - self.free + 1, 20))


def login_keys(account: str, address: str) -> tuple[Key, Key, Key]:
    """Return what an attempt is counted by."""
    near = neighbourhood(address)
    return (account, near), (account, None), (None, near)


def neighbourhood(address: str) -> str:
    """Return whom an address stands for: itself, or in IPv6 the network that one host commands."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
