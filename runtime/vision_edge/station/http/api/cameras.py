"""GenICam cameras on the networks: found, and tried before they are written into the settings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from vision_edge.station.core.camera_finder import CameraFinder
from vision_edge.station.http.api.answers import CHANGING, READING, failures
from vision_edge.station.http.api.models import Answer, Asked
from vision_edge.station.http.api.routes import Engineer, noted

router = APIRouter(prefix="/cameras", tags=["cameras"])


class FoundCameraAnswer(Answer):
    """A camera that answered."""

    address: str = Field(
        description="For a source's `address`.", examples=["genicam://Maker-Model-123"]
    )
    model: str = Field(examples=["Model"])
    where: str = Field(description="IP address, or USB place.", examples=["192.168.7.20"])
    serial: str = Field(examples=["123"])
    source: str | None = Field(description="The source that has it.", examples=["camera"])


class CamerasAnswer(Answer):
    """The cameras that answered."""

    cameras: list[FoundCameraAnswer]


class CameraAsked(Asked):
    """An address to try."""

    address: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        examples=["genicam://Maker-Model-123?exposure_us=5000&trigger=Line0"]
    )


class TrialAnswer(Answer):
    """What came of trying an address."""

    width: int | None = Field(description="Null where no picture was due.", examples=[1920])
    height: int | None = Field(examples=[1080])
    ms: float = Field(description="From opening to the first picture.", examples=[180.5])
    message: str = Field(examples=["it gives pictures"])


@router.get("", responses=failures(*READING, 409, 503))
def cameras(request: Request, _user: Engineer) -> CamerasAnswer:
    """Ask the networks which GenICam cameras there are; takes about a second."""
    found = _finder(request).found()
    return CamerasAnswer(cameras=[FoundCameraAnswer(**vars(one)) for one in found])


@router.post("/try", responses=failures(*CHANGING))
def try_one(request: Request, asked: CameraAsked, _user: Engineer) -> TrialAnswer:
    """Open a GenICam camera as an address says, take a picture, and let it go."""
    noted(request, deed=False, address=asked.address)
    told = _finder(request).tried(asked.address)
    return TrialAnswer(**{**vars(told), "ms": round(told.ms, 1)})


def _finder(request: Request) -> CameraFinder:
    finder: CameraFinder = request.app.state.camera_finder
    return finder
