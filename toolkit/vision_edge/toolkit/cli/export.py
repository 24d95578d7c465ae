"""`vision-edge export`: a bundle for devices."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vision_edge.runtime.cli import command_app
from vision_edge.runtime.errors import DataError, require
from vision_edge.toolkit.cli.options import (
    BackboneName,
    Interpolation,
    Mean,
    Size,
    Std,
    Weights,
    chosen_backbone,
)

app = command_app()
MAX_IMAGES = 512


class Precision(str, Enum):
    """Arithmetic of the exported graph."""

    fp32 = "fp32"


class TargetFormat(str, Enum):
    """What is exported."""

    onnx = "onnx"


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder.")],
    backbone: BackboneName = None,
    weights: Weights = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Adapter to merge, such as a meta-LoRA.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder or zip of images like those the device will see (none of a product): "
            "for the parity gate, the centre and the thresholds. Default: generated scenes.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name; default: the folder's.")] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", help="JSON of `vision-edge evaluate` to carry along."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Arithmetic.")
    ] = Precision.fp32,
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights", help="Store weights in float16, compute in float32: half the size."
        ),
    ] = False,
    target: Annotated[
        TargetFormat, typer.Option("--target", help="What to export.")
    ] = TargetFormat.onnx,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
) -> None:
    """Merge an adapter into its backbone and export a bundle that is provably the same model.

    The exported model must give PyTorch's embeddings on every image, or nothing is written.
    """
    require("torch")
    from vision_edge.export.bundle import ExportImages, export_bundle
    from vision_edge.export.merge import merge
    from vision_edge.runtime.manifest import AdapterInfo
    from vision_edge.toolkit.adapters import read_adapter
    from vision_edge.toolkit.data import images_of

    figures = _evaluation(evaluation)
    loaded = chosen_backbone(backbone, weights, size, mean, std, interpolation)
    info, merged = loaded.info(), None
    if adapter is not None:
        found = read_adapter(adapter, loaded)
        merge(loaded.model, found.updates)
        merged = AdapterInfo(name=found.name, sha256=found.sha256, method=found.method)
    chosen = None
    if images is not None:
        chosen = ExportImages(images_of(images, MAX_IMAGES), f"images of {images.name}")
    with Console(stderr=True).status("exporting, then comparing with PyTorch"):
        bundle = export_bundle(
            loaded.model,
            loaded.spec,
            out,
            name=name or out.name,
            backbone=info,
            adapter=merged,
            images=chosen,
            evaluation=figures,
            half_weights=half_weights,
        )
    manifest = bundle.manifest
    typer.echo(
        f"{out}: {len(bundle.model) / 1e6:.1f} MB, {precision.value}, {target.value}, embeddings "
        f"({manifest.embedding_dim},), parity with PyTorch on {manifest.parity.images} images: "
        f"cosine at least {manifest.parity.min_cosine:.6f}"
    )


def _evaluation(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"--evaluation {path}: {error}", fix="give evaluate's --json") from error
    if not isinstance(document, dict):
        raise DataError(f"--evaluation {path}: not a JSON object", fix="give evaluate's --json")
    return document
