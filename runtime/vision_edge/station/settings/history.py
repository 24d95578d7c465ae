"""Settings of what a station remembers: the sections `[history]` and `[statistics]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HistorySettings(_Section):
    """The section `[history]`: the latest verdicts, kept with their pictures.

    Attributes:
        most: Verdicts kept; the oldest go first.
        most_mb: Megabytes of their pictures.
        per_minute: Verdicts a minute and source that are kept, on average.
    """

    most: Annotated[int, Field(ge=1, le=100_000)] = 5000
    most_mb: Annotated[float, Field(gt=0, le=100_000)] = 256.0
    per_minute: Annotated[float, Field(gt=0, le=6000)] = 120.0

    @property
    def bytes(self) -> float:
        """Bytes of pictures that are kept."""
        return self.most_mb * 1e6


class StatisticsSettings(_Section):
    """The section `[statistics]`: counts of a shift, by the minute.

    Attributes:
        days: For how long they are kept.
        products: Products that are counted by name within a day; what comes beyond is counted as
            one.
    """

    days: Annotated[float, Field(gt=0, le=3660)] = 62.0
    products: Annotated[int, Field(ge=1, le=10_000)] = 500
