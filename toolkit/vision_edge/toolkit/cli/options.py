"""Options that several server commands share, and what they make."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vision_edge.runtime.errors import BackboneError, VisionEdgeError, require
from vision_edge.runtime.images.preprocess import Triple

if TYPE_CHECKING:
    from vision_edge.toolkit.backbones.backbone import Backbone

BackboneName = Annotated[
    str | None,
    typer.Option("--backbone", help="timm model name; default: the embedded backbone."),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Safetensors file; default: timm's pretrained weights."),
]
Size = Annotated[int | None, typer.Option("--size", help="Input side in pixels.")]
Mean = Annotated[
    str | None, typer.Option("--mean", help="Mean per RGB channel of pixels in [0, 1]: r,g,b.")
]
Std = Annotated[str | None, typer.Option("--std", help="Standard deviation, likewise: r,g,b.")]
Interpolation = Annotated[
    str | None, typer.Option("--interpolation", help="Kernel for enlarging: bilinear or bicubic.")
]
Activation = Annotated[
    str | None,
    typer.Option(
        "--activation",
        help="gelu, quick_gelu or gelu_tanh, where the weights' own files do not say (CLIP).",
    ),
]
Projection = Annotated[
    bool | None,
    typer.Option(
        "--projection/--no-projection",
        help="CLIP's projection in the embedding; default: where the weights carry it.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")]
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


def triple(text: str | None, option: str) -> Triple | None:
    """Parse `r,g,b`.

    Raises:
        BackboneError: If it is not three finite numbers.
    """
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
        if not all(map(math.isfinite, (red, green, blue))):
            raise ValueError
    except ValueError:
        raise BackboneError(
            f"{option} {text!r}: expected three numbers", fix=f"for instance {option} 0.5,0.5,0.5"
        ) from None
    return red, green, blue


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


def chosen_backbone(
    name: str | None,
    weights: Path | None,
    size: int | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
    activation: str | None = None,
    projection: bool | None = None,
) -> Backbone:
    """Load the backbone that a command's options describe.

    Raises:
        BackboneError: If it cannot be made.
        MissingExtraError: If torch is not installed.
    """
    require("torch")
    from vision_edge.toolkit.backbones.backbone import BackboneOptions, load_backbone

    loaded = load_backbone(
        BackboneOptions(
            name=name,
            weights=weights,
            size=size,
            mean=triple(mean, "--mean"),
            std=triple(std, "--std"),
            interpolation=interpolation,
            activation=chosen_activation(activation),
            projection=projection,
        )
    )
    say_notes(loaded)
    return loaded


def chosen_activation(name: str | None) -> Any:
    """Return the activation that `--activation` names.

    Raises:
        BackboneError: If there is none of that name.
    """
    if name not in (None, "gelu", "quick_gelu", "gelu_tanh"):
        raise BackboneError(
            f"--activation {name!r} is unknown", fix="give gelu, quick_gelu or gelu_tanh"
        )
    return name


def say_notes(backbone: Backbone) -> None:
    """Tell the user what the weights' files decided."""
    for note in backbone.notes:
        typer.echo(f"note: {backbone.name}: {note}", err=True)
