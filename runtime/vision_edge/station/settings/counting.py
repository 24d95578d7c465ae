"""The section `[counting]`: when shifts begin, and where."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
"""A time of the day, `HH:MM`."""


class CountingSettings(BaseModel):
    """How parts are counted.

    Attributes:
        shifts: When shifts begin, each `"HH:MM"` in local time; one begins where another ends.
        timezone: Whose local time, such as `"Europe/Berlin"`; by default the machine's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shifts: Annotated[tuple[str, ...], Field(min_length=1, max_length=24)] = ("00:00",)
    timezone: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    @field_validator("shifts")
    @classmethod
    def _times(cls, shifts: tuple[str, ...]) -> tuple[str, ...]:
        for shift in shifts:
            if not TIME.fullmatch(shift):
                raise ValueError(f'a shift begins at "HH:MM", 00:00 to 23:59; got {shift!r}')
        if len(set(shifts)) < len(shifts):
            raise ValueError("two shifts begin at the same time")
        return tuple(sorted(shifts))

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (OSError, ValueError) as error:  # not found is a KeyError and an OSError by version
            raise ValueError(_unknown(name)) from error
        except KeyError as error:
            raise ValueError(_unknown(name)) from error
        return name


def _unknown(name: str | None) -> str:
    return f'{name!r} is no known time zone: give one such as "Europe/Berlin", or none'
