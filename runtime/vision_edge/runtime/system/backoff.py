"""Waiting between attempts: longer each time, and never in step with others."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Doubling pauses with jitter, so that a line of stations does not storm one camera.

    Attributes:
        first: Seconds before the second attempt, at most.
        longest: Seconds that no pause exceeds.
    """

    first: float = 0.5
    longest: float = 15.0
    _attempts: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def pause(self) -> float:
        """Return how many seconds to wait before the next attempt: half to all of its limit."""
        limit = min(self.longest, self.first * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return limit * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew, after an attempt that worked."""
        self._attempts = 0
