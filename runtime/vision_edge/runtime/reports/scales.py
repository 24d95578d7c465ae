"""Where values lie along an axis, and which of them are marked on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """One axis of a chart.

    Attributes:
        low: The value at `start`.
        high: The value at `end`.
        start: In units of the drawing.
        end: Likewise; less than `start` for values that rise upwards.
        log: Whether equal ratios are equally long; `low` is above 0 then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a value lies, in units of the drawing."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def linear_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round values, from at most `low` to at least `high`."""
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    size = 10.0 ** math.floor(math.log10(span / count))
    step = next(size * nice for nice in _ROUND if size * nice >= span / count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, from below `low` to above `high`; `low` > 0."""
    steps = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
    ]
    below = max(step for step in steps if step <= 0.75 * low)
    above = min((step for step in steps if step >= high), default=steps[-1])
    return [step for step in steps if below <= step <= above]


def decimals(ticks: list[float]) -> int:
    """Return how many digits behind the point tell ticks apart."""
    step = ticks[1] - ticks[0]
    return next((d for d in range(9) if math.isclose(step, round(step, d), rel_tol=1e-6)), 9)
