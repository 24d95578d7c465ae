"""What the API gives of a shift: the history of verdicts, and its statistics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vision_edge.station.http.api.models import Answer, Asked, Label, ReviewId, ReviewIds


class KeptVerdict(Answer):
    """A verdict that is kept with its picture, and what a person has decided on it."""

    id: ReviewId
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    source: str = Field(examples=["camera"])
    label: str | None = Field(examples=["bolt M8"])
    nearest: str = Field(examples=["bolt M8"])
    score: float = Field(examples=[0.91])
    margin: float | None = Field(examples=[0.42])
    stranger_rate: float | None = Field(examples=[0.002])
    band: Literal["accept", "review", "unknown"]
    decided: str | None = Field(
        description="When a person has decided on it.", examples=["2026-01-01T12:03:00.000+00:00"]
    )
    right: str | None = Field(
        description="What they said it is; empty: no product.", examples=["bolt M6"]
    )
    author: str | None = Field(examples=["anna"])


class KeptAnswer(Answer):
    """The verdicts that were asked for, newest first, and how much is kept in all."""

    kept: int = Field(examples=[4711])
    bytes: int = Field(examples=[120_000_000])
    verdicts: list[KeptVerdict]


class RejectAsked(Asked):
    """Verdicts that show no product."""

    ids: ReviewIds
    accept_removal: bool = Field(
        default=False, description="An engineer's: products that hold no other picture may go."
    )


class CorrectAsked(RejectAsked):
    """Verdicts, and the product that they show."""

    label: Label


class CorrectedAnswer(Answer):
    """The gallery's version after it, and how many pictures still wait under review."""

    version: int = Field(examples=[15])
    pending: int = Field(examples=[1])


class TallyAnswer(Answer):
    """Verdicts by band, and the age of their frames."""

    accept: int = Field(examples=[420])
    review: int = Field(examples=[12])
    unknown: int = Field(examples=[8])
    nothing: int = Field(description="While nothing was in view.", examples=[0])
    age_ms: float | None = Field(examples=[41.2])
    age_ms_most: float | None = Field(examples=[180.0])


class StepAnswer(TallyAnswer):
    """A step of time."""

    start: int = Field(description="Seconds since 1970.", examples=[1767225600])


class ProductTally(Answer):
    """A product's verdicts."""

    label: str = Field(examples=["bolt M8"])
    accept: int = Field(examples=[140])
    review: int = Field(examples=[3])


class SourceTally(TallyAnswer):
    """A source's verdicts, and how long it was out."""

    name: str = Field(examples=["camera"])
    out_seconds: float = Field(examples=[12.5])


class Correction(Answer):
    """What persons put right."""

    given: str = Field(description="Empty: unknown.", examples=["bolt M8"])
    band: str = Field(examples=["accept"])
    right: str = Field(description="Empty: no product.", examples=["bolt M6"])
    times: int = Field(examples=[2])


class Outage(Answer):
    """When a source had no new picture, or was lost."""

    source: str = Field(examples=["camera"])
    state: str = Field(examples=["lost"])
    began: float = Field(examples=[1767225600.0])
    ended: float | None = Field(description="Null: it lasts.", examples=[1767225612.5])


class StatisticsAnswer(Answer):
    """A stretch of time in numbers."""

    since: float = Field(description="Seconds since 1970.", examples=[1767225600.0])
    until: float = Field(examples=[1767254400.0])
    step_minutes: int = Field(examples=[10])
    total: TallyAnswer
    steps: list[StepAnswer]
    products: list[ProductTally]
    sources: list[SourceTally]
    corrections: list[Correction]
    outages: list[Outage]
