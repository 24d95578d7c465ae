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
