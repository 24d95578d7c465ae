"""When was a frame captured? Arrival alone lies: a stalled network delivers old frames late.

The timestamps that a stream carries tell how far apart its frames were captured, by the camera's
clock. The frame that came through fastest sets the offset between that clock and ours; whatever
arrives later than that offset says was held up on its way, and is as much older.
"""

from __future__ import annotations

import math

DRIFT = 500e-6
"""How far two clocks may drift apart, in seconds a second; a crystal's is below 100e-6."""

SETTLE = 0.4
"""Seconds without a faster frame before the offset is trusted."""

_FASTER = 0.02
_WAITED = 0.004


class StreamClock:
    """Stamps the frames of one connection with the time of their capture.

    What a decoder or a server had buffered comes first, in a burst, and is old although it has
    just arrived; such frames get no stamp and must not be used.
    """

    def __init__(self) -> None:
        self._offset = math.inf
        self._last_arrival = -math.inf
        self._last_timestamp = -math.inf
        self._faster_at: float | None = None
        self._settled = False
        self._has_timestamps = True

    def stamp(self, arrived: float, timestamp: float | None) -> float | None:
        """Return when a frame was captured, in seconds of `time.monotonic`.

        Args:
            arrived: When it arrived, in seconds of `time.monotonic`.
            timestamp: The stream's own, in seconds since any point; None where it has none.

        Returns:
            The time of capture, at most `arrived`; None while the stream's backlog comes in.
        """
        waited = arrived - self._last_arrival
        advanced = timestamp is not None and timestamp != self._last_timestamp
        self._has_timestamps = self._has_timestamps and advanced
        if timestamp is None or not self._has_timestamps:
            self._settled = self._settled or _WAITED < waited < math.inf
            captured = arrived
        else:
            captured = self._by_timestamp(arrived, waited, timestamp)
            self._last_timestamp = timestamp
        self._last_arrival = arrived
        return captured if self._settled else None

    def _by_timestamp(self, arrived: float, waited: float, timestamp: float) -> float:
        """Follow the fastest frame; let the offset drift, so that it can also grow."""
        offset = arrived - timestamp
        if self._faster_at is None or offset < self._offset - _FASTER:
            self._faster_at = arrived
        drifted = self._offset + DRIFT * waited if waited < math.inf else math.inf
        self._offset = min(offset, drifted)
        self._settled = self._settled or arrived - self._faster_at >= SETTLE
        return min(arrived, timestamp + self._offset)
