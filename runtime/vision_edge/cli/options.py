"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading, parse_colour
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.runner import Precision
from vision_edge.runtime.sources.grabber import BACKENDS, GrabberOptions
from vision_edge.runtime.sources.view import Flip as FlipName
from vision_edge.runtime.sources.view import View, parse_roi

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder that `vision-edge export` wrote.")
]
GalleryPath = Annotated[Path, typer.Option("--gallery", help="The gallery's file.")]
Provider = Annotated[
    str,
    typer.Option(
        "--provider",
        help="Provider: auto, tensorrt, cuda, openvino, cpu, or triton://host:port/model.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads an inference; default: all cores."),
]
PrecisionHint = Annotated[
    str,
    typer.Option("--precision-hint", help="Arithmetic of float32 parts: f32, tf32, bf16 or f16."),
]
CudaGraph = Annotated[
    bool, typer.Option("--cuda-graph", help="With cuda: replay each batch size as a CUDA graph.")
]
Author = Annotated[
    str | None, typer.Option("--author", help="Who makes this change; default: you.")
]
Rotate = Annotated[
    int, typer.Option("--rotate", help="Turn the camera's picture clockwise: 90, 180 or 270.")
]
Flip = Annotated[
    str, typer.Option("--flip", help="Mirror the camera's picture: horizontal or vertical.")
]
Roi = Annotated[
    str | None, typer.Option("--roi", help="Look only at x,y,width,height of the picture.")
]
Exposure = Annotated[
    float | None,
    typer.Option("--exposure", help="Fixed exposure of a USB camera, in its driver's unit."),
]
Backend = Annotated[
    str,
    typer.Option("--backend", help="What reads streams: auto, opencv or gstreamer."),
]
FrameViewsOption = Annotated[
    int,
    typer.Option("--views", min=1, max=3, help="Views a frame: 1, or 3 for three inferences."),
]
ViewBudget = Annotated[
    float | None,
    typer.Option(
        "--view-budget-ms", help="With --views 3: one view is enough where three take longer."
    ),
]
Empty = Annotated[
    Path | None,
    typer.Option("--empty", help="Picture of the empty scene: then parts are found and cut out."),
]

Bits = Annotated[
    int | None,
    typer.Option(
        "--bits", min=8, max=16, help="Bits in use in 16-bit pictures: 12 for a 12-bit camera's."
    ),
]
Background = Annotated[
    str,
    typer.Option("--background", help="Colour that transparent pictures are laid on, #rrggbb."),
]


@dataclass(frozen=True)
class CameraOptions:
    """What a command was told about the camera."""

    rotate: int
    flip: str
    roi: str | None
    exposure: float | None
    backend: str

    @property
    def view(self) -> View:
        """How the picture is turned, mirrored and cut.

        Raises:
            SourceError: If it cannot be so.
        """
        flip = cast("FlipName", self.flip)
        return View(self.rotate, flip, None if self.roi is None else parse_roi(self.roi))

    @property
    def grabber(self) -> GrabberOptions:
        """How the camera is opened.

        Raises:
            SourceError: If the backend is unknown.
        """
        if self.backend not in BACKENDS:
            raise SourceError(
                f"unknown backend {self.backend!r}", fix=f"use one of {', '.join(BACKENDS)}"
            )
        return GrabberOptions(backend=self.backend, exposure=self.exposure)


def session_options(precision_hint: str, cuda_graph: bool) -> SessionOptions:
    """Return the session's settings for a command's options.

    Raises:
        VisionEdgeError: If the precision is unknown.
    """
    return SessionOptions(precision=cast("Precision", precision_hint), cuda_graph=cuda_graph)


def reading_of(bits: int | None, background: str) -> Reading:
    """Return what a command was told of pictures that do not say it themselves.

    Raises:
        ImageError: If the colour is none.
    """
    return Reading(bits, parse_colour(background))


def presence_of(empty: Path | None, view: View, reading: Reading = AS_IT_SAYS) -> Presence | None:
    """Return what knows the empty scene of a picture file, as the camera would show it."""
    return None if empty is None else Presence(view.apply(read_image(empty, reading)))
