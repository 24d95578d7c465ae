"""Options that several commands share, and the modes in which they count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.declarations import Group, Mode, Option, Values, chosen
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading, parse_colour
from vision_edge.runtime.inference.options import PRECISIONS, SessionOptions
from vision_edge.runtime.inference.session import TRITON
from vision_edge.runtime.pipeline.frame_views import ViewSettings
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.opening import gives_pictures, source_kind
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
Author = Annotated[
    str | None, typer.Option("--author", help="Who makes this change; default: you.")
]


def _share(value: float) -> float:
    if not 0 < value < 1:
        raise VisionEdgeError("a share of strangers is between 0 and 1", fix="0.05 is the default")
    return value


def far(*modes: Mode) -> Option:
    """Return `--far`, which counts in some modes alone."""
    return Option(
        "false_accept_rate",
        "--far",
        float,
        "False-accept rate: share of strangers that may pass.",
        only=modes,
        parse=_share,
    )


# --- the source -----------------------------------------------------------------------------------


def _addresses(values: Values) -> list[int | str]:
    """Return the addresses of a command's cameras and streams."""
    named = [values["source"], *(values.get("also") or [])]
    found = (live_address(name) for name in named if name is not None)
    return [address[0] for address in found if address is not None]


def _is_usb(address: int | str) -> bool:
    return isinstance(address, int) or address.startswith("/dev/")


LIVE = Mode("a camera or stream as source", lambda values: bool(_addresses(values)))
USB = Mode(
    "a USB camera as source (an index, or /dev/video0)",
    lambda values: any(map(_is_usb, _addresses(values))),
)
STREAM = Mode(
    "a stream as source (rtsp://, http://, csi://, gst://)",
    lambda values: not all(map(_is_usb, _addresses(values))),
)
VIDEO = Mode("a video file as source", lambda values: source_kind(values["source"]) == "video")
FOLDER = Mode("a folder as source", lambda values: Path(values["source"]).is_dir())
PICTURES = Mode(
    "pictures in files, or an http:// address of single pictures",
    lambda values: _reads_pictures(values),
)


def _reads_pictures(values: Values) -> bool:
    named = [values["source"], *(values.get("also") or [])]
    return (
        bool(values.get("images"))
        or values["empty"] is not None
        or any(gives_pictures(source) for source in named if source is not None)
    )


VIEWS = Group(
    ViewSettings,
    Option("views", "--views", int, "Views a frame: 1, or 3 for three inferences.", min=1, max=3),
    Option(
        "budget_ms",
        "--view-budget-ms",
        float,
        "With --views 3: one view is enough where three take longer.",
        only=(chosen("views", "3"),),
    ),
)
VIEW = Group(
    View,
    Option("rotate", "--rotate", int, "Turn the camera's picture clockwise: 90, 180 or 270."),
    Option("flip", "--flip", str, "Mirror the camera's picture: horizontal or vertical."),
    Option("roi", "--roi", str, "Look only at x,y,width,height of the picture.", parse=parse_roi),
)
GRABBER = Group(
    GrabberOptions,
    Option(
        "exposure",
        "--exposure",
        float,
        "Fixed exposure of a USB camera, in its driver's unit.",
        only=(USB,),
    ),
    Option(
        "backend",
        "--backend",
        str,
        "What reads streams: auto, opencv or gstreamer.",
        only=(STREAM,),
    ),
)
BITS = Option(
    "bits",
    "--bits",
    int,
    "Bits in use in 16-bit pictures: 12 for a 12-bit camera's.",
    min=8,
    max=16,
)
BACKGROUND = Option(
    "background",
    "--background",
    str,
    "Colour that transparent pictures are laid on, #rrggbb; default: white.",
    parse=parse_colour,
)
READING = Group(Reading, BITS, BACKGROUND, only=(PICTURES,))


def presence_of(
    empty: Path | None, view: View, reading: Reading = AS_IT_SAYS, *, touching: bool = True
) -> Presence | None:
    """Return what knows the empty scene of a picture file, as the camera would show it."""
    if empty is None:
        return None
    return Presence(view.apply(read_image(empty, reading)), touching=touching)


# --- the session ----------------------------------------------------------------------------------

LOCAL = Mode(
    "a provider of this machine that takes threads (not engine)",
    lambda values: values["provider"] != "engine" and not values["provider"].startswith(TRITON),
)
_HINTS = {
    "auto": ("f32", "tf32", "bf16", "f16", "auto"),
    "openvino": ("bf16", "f16", "auto"),
    "cuda": ("tf32",),
}
HINTED = Mode(
    "--provider openvino (bf16, f16, auto) or cuda (tf32)",
    lambda values: (
        values["precision_hint"] not in PRECISIONS  # which is told by the class
        or values["precision_hint"] in _HINTS.get(values["provider"], ())
    ),
)
GRAPHED = chosen("provider", "auto", "cuda")
THREADS = Option(
    "threads",
    "--threads",
    int,
    "CPU threads an inference; default: all cores.",
    min=1,
    only=(LOCAL,),
)
PRECISION_HINT = Option(
    "precision",
    "--precision-hint",
    str,
    "Arithmetic of float32 parts: f32, tf32, bf16, f16, or auto: bf16 where it is quicker.",
    only=(HINTED,),
)
CUDA_GRAPH = Option(
    "cuda_graph",
    "--cuda-graph",
    bool,
    "With cuda: replay each batch size as a CUDA graph.",
    only=(GRAPHED,),
)
SESSION = Group(SessionOptions, THREADS, PRECISION_HINT, CUDA_GRAPH)
