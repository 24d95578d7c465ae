"""What a station cannot do, in its own words: nothing here knows how it is asked."""

from __future__ import annotations

from typing import Any

from vision_edge.runtime.errors import VisionEdgeError


class StationError(VisionEdgeError):
    """Something that was asked of a station cannot be.

    Attributes:
        code: One word for programs.
        more: What else a program should know, as JSON values.
    """

    code = "refused"

    def __init__(self, what: str, *, fix: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(what, fix=fix)
        self.more = more or {}


class NotThereError(StationError):
    """There is no source, capture or picture of that name, or not any more."""

    code = "not_found"


class NoFrameError(StationError):
    """A source shows nothing now."""

    code = "no_frame"


class BusyError(StationError):
    """It is being done for somebody else already."""

    code = "busy"


class CropError(StationError):
    """A crop is not inside its picture, or too small."""

    code = "crop"


class WarningsError(StationError):
    """A registration that something speaks against, and nobody accepted that; `more` says what."""

    code = "warnings"


class LastPictureError(StationError):
    """A product's only picture would be moved away; `more` says whose: `removes`."""

    code = "last_picture"


class ExpectationError(StationError):
    """A product cannot be expected: it is not registered, or it cannot be kept."""

    code = "not_registered"


class NothingToJudgeError(StationError):
    """There is no product, or no picture, that anything could be told by."""

    code = "nothing_to_judge"


class RateError(StationError):
    """The share of strangers cannot be set: it is none, or a fixed score decides."""

    code = "rate"
