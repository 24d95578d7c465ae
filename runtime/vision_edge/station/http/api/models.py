"""What every answer of the API shares; each topic has its own models beside its routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.labels import MAX_LABEL, checked_label


def _label(text: str) -> str:
    try:
        return checked_label(text)
    except GalleryError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


Label = Annotated[
    str, Field(min_length=1, max_length=MAX_LABEL, examples=["bolt M8"]), AfterValidator(_label)
]
"""A product's name."""

Pixel = Annotated[int, Field(ge=0, le=100_000)]
CaptureId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", examples=["5f0c3b1a9d2e4f60718293a4"])]
ReviewId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", examples=["01a20d60f29900006954fc3c"])]
ReviewIds = Annotated[list[ReviewId], Field(min_length=1, max_length=500)]
Version = Annotated[int, Field(ge=0, le=2**53)]
State = Literal["connecting", "live", "stale", "lost", "ended"]


class Answer(BaseModel):
    """What the API gives."""

    model_config = ConfigDict(extra="forbid")


class Asked(BaseModel):
    """What the API takes; unknown members are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Error(Answer):
    """What went wrong, for programs and for people."""

    code: str = Field(examples=["not_found"])
    what: str = Field(examples=["there is no source 'camera 9'"])
    fix: str = Field(examples=["there are: camera"])


class ErrorAnswer(Answer):
    """Every answer that is no success."""

    error: Error


Origin = Literal["page", "settings", "none"]


class LoginAsked(Asked):
    """Name and password."""

    user: Annotated[str, Field(min_length=1, max_length=64, examples=["anna"])]
    password: Annotated[str, Field(min_length=1, max_length=256, examples=["three plain words"])]


class Me(Answer):
    """Who you are, and the token that POSTs must bear; null with a bearer token."""

    user: str = Field(examples=["anna"])
    role: Literal["operator", "engineer"]
    csrf: str | None = Field(examples=["V1StGXR8Z5jdHi6BmyT"])


class Done(Answer):
    """It is done."""

    done: Literal[True] = True


Responses = dict[int | str, dict[str, Any]]
