"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder that `vision-edge export` wrote.")
]
GalleryPath = Annotated[Path, typer.Option("--gallery", help="The gallery's file.")]
Provider = Annotated[
    str,
    typer.Option("--provider", help="ONNX Runtime provider: auto, tensorrt, cuda or cpu."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads an inference; default: all cores."),
]
Author = Annotated[
    str | None, typer.Option("--author", help="Who makes this change; default: you.")
]
