"""Frozen frames, and how products are registered from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vision_edge.station.http.api.models import (
    Answer,
    Asked,
    CaptureId,
    Error,
    Label,
    Origin,
    Pixel,
)


class CropAnswer(Answer):
    """A rectangle of a capture, in pixels."""

    x: int = Field(examples=[100])
    y: int = Field(examples=[80])
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])


class CaptureAnswer(Answer):
    """A picture that waits to be registered."""

    capture: CaptureId
    width: int = Field(examples=[1920])
    height: int = Field(examples=[1080])
    expires_s: float = Field(examples=[300.0])
    crop: CropAnswer | None = Field(
        description="What it is cut to if no crop is given: the part, where that can be told."
    )
    parts: list[CropAnswer] = Field(
        default=[], description="Around each part wholly in view, from left to right: choose one."
    )
    pictures: int = Field(
        default=1, description="How many views of the part: several after a burst.", examples=[5]
    )


class SceneAnswer(Answer):
    """A source's region of interest and its empty picture; the page's hold against settings."""

    roi: list[int] | None = Field(
        description="x, y, width, height of the upright picture.", examples=[[100, 0, 640, 480]]
    )
    size: list[int] | None = Field(
        description="Width and height of its latest picture before that.", examples=[[1280, 720]]
    )
    roi_from: Origin
    empty_from: Origin
    empty_size: list[int] | None = Field(examples=[[1280, 720]])
    empty_taken: str | None = Field(examples=["2026-01-01T12:00:00+00:00"])
    empty_author: str | None = Field(examples=["anna"])


class BurstAsked(Asked):
    """How long a part is turned."""

    seconds: Annotated[float, Field(ge=0.5, le=10)] = 4.0


class CropModel(Asked):
    """A rectangle of a capture, in pixels."""

    x: Pixel = Field(examples=[100])
    y: Pixel = Field(examples=[80])
    width: Annotated[Pixel, Field(ge=1)] = Field(examples=[640])
    height: Annotated[Pixel, Field(ge=1)] = Field(examples=[480])


class RoiAsked(Asked):
    """A region of interest of the upright picture; null returns to the settings'."""

    roi: CropModel | None


class CheckAsked(Asked):
    """What a capture is to be checked as."""

    label: Label | None = None
    crop: CropModel | None = None
    catalogue: bool = Field(
        default=False, description="Whether it shows the product alone, on white."
    )


class ConcernProblem(Answer):
    """Something wrong with a picture."""

    code: str = Field(examples=["blurred"])
    message: str = Field(examples=["blurred: its sharpness is 0.11, at least 0.2"])
    fix: str = Field(examples=["focus, hold still, or a shorter exposure"])


class Similar(Answer):
    """A product that the picture looks like."""

    label: str = Field(examples=["bolt M6"])
    score: float = Field(examples=[0.87])


class ConcernsAnswer(Answer):
    """What speaks against registering a picture."""

    problems: list[ConcernProblem]
    similar: list[Similar]


class WarningsAnswer(ConcernsAnswer):
    """Nothing was registered; where warnings are why, they are listed."""

    error: Error
    problems: list[ConcernProblem] = Field(default=[])
    similar: list[Similar] = Field(default=[])


class RegisterAsked(Asked):
    """A capture to be registered."""

    label: Label
    capture: CaptureId
    crop: CropModel | None = None
    accept_warnings: bool = False
    catalogue: bool = Field(
        default=False, description="Whether it shows the product alone, on white."
    )


class RegisteredAnswer(Answer):
    """What was registered."""

    label: str = Field(examples=["bolt M8"])
    version: int = Field(examples=[13])
    snapshots: list[int] = Field(description="New ones.", examples=[[17]])
