"""Verdicts and parts, as the API tells them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from vision_edge.station.http.api.models import Answer


class Part(Answer):
    """The frames that a part's verdict rests on."""

    first: int = Field(examples=[101])
    last: int = Field(examples=[118])
    frames: int = Field(examples=[16])
    evidence: list[int] = Field(examples=[[109, 110, 108]])
    number: int = Field(default=0, description="Which part of its source.", examples=[12])
    box: list[int] | None = Field(
        default=None,
        description="Where it lies in the frame, x0, y0, x1, y1 in pixels; null: the whole.",
        examples=[[310, 120, 420, 236]],
    )


class Verification(Answer):
    """Whether a part is the product that is expected."""

    expected: str = Field(examples=["bolt M8"])
    answer: Literal["right", "wrong", "unsure"]
    reason: Literal["", "far", "between", "other", "twice", "negative", "not-registered"] = Field(
        description="Why it is not right: `far` from the expected product, or `between` right and "
        "far; an`other` product is nearer; `twice`: two products hold this very picture; "
        "`negative`: a person said that such a picture is not it; or it is `not-registered`."
    )
    score: float | None = Field(description="Likeness to the expected product.", examples=[0.91])
    wrong_rate: float | None = Field(
        description="Estimated share of wrong parts that would be as near to it.",
        examples=[0.001],
    )


class LocatedPart(Answer):
    """A part in a frame: where, and what it is as far as that is known."""

    box: list[int] = Field(
        description="x0, y0, x1, y1 in pixels of the frame.", examples=[[310, 120, 420, 236]]
    )
    number: int | None = Field(
        description="Which part of its source, once it is reported.", examples=[12]
    )
    label: str | None = Field(examples=["bolt M8"])
    band: Literal["accept", "review", "unknown"] | None = Field(
        description="Null while it is not judged: not wholly in view, or not yet."
    )
    score: float | None = Field(default=None, examples=[0.91])
    margin: float | None = Field(default=None, examples=[0.42])
    known: bool | None = None
    nearest: str | None = Field(default=None, examples=["bolt M8"])
    stranger_rate: float | None = Field(default=None, examples=[0.002])
    verification: Verification | None = Field(
        default=None, description="Where a product is expected: whether this part is it."
    )


class PartsInView(Answer):
    """The parts in a source's latest frame."""

    source_name: str = Field(examples=["camera"])
    frame: int = Field(examples=[4711])
    size: list[int] = Field(description="Width and height in pixels.", examples=[[1280, 720]])
    parts: list[LocatedPart]


class Verdict(BaseModel):
    """A verdict on a frame or a part."""

    id: str = Field(examples=["01a20d60f29900006954fc3c"])
    station: str = Field(examples=["line-3"])
    source_name: str = Field(examples=["camera"])
    time: str = Field(examples=["2026-01-01T12:00:00.000+00:00"])
    source: str = Field(examples=["rtsp://10.0.0.7/stream1"])
    frame: int = Field(examples=[109])
    age_ms: float = Field(examples=[41.2])
    label: str | None = Field(examples=["bolt M8"])
    score: float = Field(examples=[0.91])
    margin: float | None = Field(examples=[0.42])
    known: bool
    nearest: str = Field(examples=["bolt M8"])
    band: Literal["accept", "review", "unknown"]
    stranger_rate: float | None = Field(examples=[0.002])
    in_view: bool = Field(
        default=True,
        description="False: nothing is before the camera, as its picture of the empty scene says.",
    )
    part: Part | None = None
    trigger: int | None = Field(
        default=None,
        description="Which trigger of its camera it answers, as `POST trigger` has said; where a "
        "command takes each picture.",
    )
    verification: Verification | None = Field(
        default=None, description="Null where no product is expected."
    )
    parts: list[LocatedPart] = Field(
        default=[],
        description="The located parts that it is about; its own fields are the largest one's.",
    )


class Verdicts(Answer):
    """The latest verdicts, newest first."""

    verdicts: list[Verdict]
