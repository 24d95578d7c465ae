"""Products, their history, and pictures to review."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vision_edge.station.http.api.models import Answer, Asked, Label, ReviewId, ReviewIds, Version


class Product(Answer):
    """A registered product."""

    label: str = Field(examples=["bolt M8"])
    snapshots: list[int] = Field(examples=[[3, 17]])
    code: int | None = Field(
        default=None, description="For controllers, where one asks for it.", examples=[12]
    )


class ProductsAnswer(Answer):
    """All registered products."""

    version: int = Field(examples=[13])
    products: list[Product]


class RenameAsked(Asked):
    """A product's new name."""

    label: Label
    new: Label


class LabelAsked(Asked):
    """A product."""

    label: Label


class RollbackAsked(Asked):
    """An earlier version of the gallery."""

    version: Version = Field(examples=[12])


class VersionAnswer(Answer):
    """The gallery's new version."""

    version: int = Field(examples=[14])


class HistoryEvent(Answer):
    """One change of the gallery."""

    version: int = Field(examples=[13])
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    author: str = Field(examples=["anna"])
    kind: str = Field(examples=["add"])
    label: str | None = Field(examples=["bolt M8"])
    snapshot: int | None = Field(examples=[17])
    argument: str | None = Field(examples=[None])


class History(Answer):
    """The gallery's changes, newest first."""

    events: list[HistoryEvent]


class ReviewItem(Answer):
    """A picture that waits for a person."""

    id: ReviewId
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    source: str = Field(examples=["camera"])
    nearest: str = Field(examples=["bolt M8"])
    score: float = Field(examples=[0.58])
    margin: float | None = Field(examples=[0.1])
    band: Literal["review", "unknown"]
    times: int = Field(
        default=1, description="How often the same was seen since it waits.", examples=[14]
    )
    last: str = Field(
        default="", description="When last.", examples=["2026-01-01T12:10:00.000+00:00"]
    )


class ReviewAnswer(Answer):
    """What waits for a person, newest first."""

    pending: int = Field(examples=[2])
    items: list[ReviewItem]


class AssignAsked(Asked):
    """Pictures that show a product."""

    ids: ReviewIds
    label: Label


class IdsAsked(Asked):
    """Pictures under review."""

    ids: ReviewIds


class DecidedAnswer(Answer):
    """How many still wait, and the gallery's version."""

    pending: int = Field(examples=[1])
    version: int = Field(examples=[15])
