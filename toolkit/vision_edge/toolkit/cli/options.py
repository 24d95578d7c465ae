"""Options that several server commands share, and what they make."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vision_edge.cli.declarations import Given, Group, Option
from vision_edge.cli.options import BACKGROUND, BITS
from vision_edge.runtime.errors import BackboneError, VisionEdgeError, require
from vision_edge.runtime.images.preprocess import Triple
from vision_edge.runtime.images.reading import Reading

if TYPE_CHECKING:
    from vision_edge.export.model.pruning import Pruning
    from vision_edge.toolkit.averaging.usable import Weights
    from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions
    from vision_edge.toolkit.data.dataset import Dataset


ACTIVATIONS = ("gelu", "quick_gelu", "gelu_tanh")


def triple(text: str) -> Triple:
    """Parse `r,g,b`.

    Raises:
        BackboneError: If it is not three finite numbers.
    """
    try:
        red, green, blue = (float(part) for part in text.split(","))
        if not all(map(math.isfinite, (red, green, blue))):
            raise ValueError
    except ValueError:
        raise BackboneError("expected three numbers", fix="for instance 0.5,0.5,0.5") from None
    return red, green, blue


def activation(name: str) -> str:
    """Return the activation of that name.

    Raises:
        BackboneError: If there is none.
    """
    if name not in ACTIVATIONS:
        raise BackboneError("is no activation", fix=f"give one of {', '.join(ACTIVATIONS)}")
    return name


SIZE = Option("size", "--size", int, "Input side in pixels.")
INTERPOLATION = Option(
    "interpolation", "--interpolation", str, "Kernel for enlarging: bilinear or bicubic."
)
MEAN = Option(
    "mean", "--mean", str, "Mean per RGB channel of pixels in [0, 1]: r,g,b.", parse=triple
)
STD = Option("std", "--std", str, "Standard deviation, likewise: r,g,b.", parse=triple)
BACKBONE_OPTIONS = "vision_edge.toolkit.backbones.backbone:BackboneOptions"
ACTIVATION = Option(
    "activation",
    "--activation",
    str,
    "gelu, quick_gelu or gelu_tanh, where the weights' own files do not say (CLIP).",
    parse=activation,
)
PROJECTION = Option(
    "projection",
    "--projection/--no-projection",
    bool,
    "CLIP's projection in the embedding; default: where the weights carry it.",
)
INPUT = (SIZE, MEAN, STD, INTERPOLATION, ACTIVATION, PROJECTION)
"""What a backbone's files may leave open: how pictures are prepared, and what CLIP's do not say."""
BACKBONE = Group(
    BACKBONE_OPTIONS,
    Option("name", "--backbone", str, "timm model name; default: the embedded backbone."),
    Option("weights", "--weights", Path, "Safetensors file; default: timm's pretrained weights."),
    *INPUT,
)
FILES_READ = Group(Reading, BITS, BACKGROUND)
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
SEED = Option("seed", "--seed", int, "Decides everything random.", min=0)
TrustBase = Annotated[
    bool,
    typer.Option(
        "--trust-base",
        help="Take adapters whatever base they record: you know that their weights are these.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="First-level folder of DATA to use, such as train or test."),
]
DataPath = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder or zip with class/image or split/class/image."),
]


def chosen_device(name: str) -> str:
    """Return the device to use; `auto` takes a GPU where PyTorch can use one.

    Raises:
        VisionEdgeError: If the device is unknown or not there.
    """
    torch = require("torch")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise VisionEdgeError(f"--device {name}: PyTorch has no such device here", fix="use auto")
    return name


def pruning(text: str) -> Pruning:
    """Parse the steps of `--prune`.

    Raises:
        VisionEdgeError: If it is none.
        MissingExtraError: If torch is not installed.
    """
    require("torch")
    from vision_edge.export.model.pruning import Pruning

    return Pruning.parse(text)


def adapter_weights(texts: list[str]) -> Weights:
    """Parse the pairs of `--weights-of`.

    Raises:
        VisionEdgeError: If one is none.
        MissingExtraError: If torch is not installed.
    """
    require("torch")
    from vision_edge.toolkit.averaging.usable import parse_weights

    return parse_weights(texts)


def chosen_backbone(said: Given[BackboneOptions]) -> Backbone:
    """Load the backbone that a command's options describe.

    Raises:
        BackboneError: If it cannot be made.
        MissingExtraError: If torch is not installed.
    """
    require("torch")
    from vision_edge.toolkit.backbones.backbone import load_backbone

    loaded = load_backbone(said.made())
    say_notes(loaded)
    return loaded


def say_found(path: Path, data: Dataset) -> None:
    """Tell what of a data set was passed over, and what was taken all the same."""
    for line in data.found.lines():
        typer.echo(f"note: {path}: {line}", err=True)


def say_notes(backbone: Backbone) -> None:
    """Tell the user what the weights' files decided."""
    for note in backbone.notes:
        typer.echo(f"note: {backbone.name}: {note}", err=True)
