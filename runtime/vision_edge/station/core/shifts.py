"""Shifts: which one a moment belongs to, in local time and over its changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

_LONGEST_CHANGE = 24 * 60
"""Minutes that a change of the clock leaves out at most: a day, where a country changes sides."""


@dataclass(frozen=True)
class Shift:
    """A shift.

    Attributes:
        name: Its begin in local time, `2026-11-27 06:00`.
        began: Its begin, in UTC.
    """

    name: str
    began: datetime


class Shifts:
    """The shifts of a plant.

    A begin that the clock's change leaves out is where the clock goes on, and one that comes twice
    counts the first time, so that each shift begins once and they follow each other.

    Args:
        begins: When shifts begin, each `HH:MM` in local time.
        zone: Whose local time, such as `Europe/Berlin`; the machine's by default.
    """

    def __init__(self, begins: Sequence[str], zone: str | None = None) -> None:
        self._begins = [time.fromisoformat(begin) for begin in begins]
        self._zone = None if zone is None else ZoneInfo(zone)
        self._known: dict[datetime, Shift] = {}

    def at(self, now: datetime) -> Shift:
        """Return the shift of a moment, which is an aware datetime."""
        today = now.astimezone(self._zone).date()
        begun = [
            shift
            for day in (today - timedelta(days=1), today, today + timedelta(days=1))
            for begin in self._begins
            if (shift := self._shift(datetime.combine(day, begin))).began <= now
        ]
        return max(begun, key=lambda shift: (shift.began, shift.name))

    def _shift(self, local: datetime) -> Shift:
        if local not in self._known:
            if len(self._known) > 4 * len(self._begins):
                self._known.clear()
            self._known[local] = Shift(f"{local:%Y-%m-%d %H:%M}", self._instant(local))
        return self._known[local]

    def _instant(self, local: datetime) -> datetime:
        """Return when it is that time; of one that is left out, when the clock goes on."""
        for minutes in range(_LONGEST_CHANGE):
            wanted = local + timedelta(minutes=minutes)
            placed = wanted if self._zone is None else wanted.replace(tzinfo=self._zone)
            instant = placed.astimezone(timezone.utc)
            if instant.astimezone(self._zone).replace(tzinfo=None) == wanted:
                return instant
        return instant
