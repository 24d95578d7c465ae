"""`vision-edge tune`: a lora hub from labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from vision_edge.cli.app import command_app
from vision_edge.cli.options import Background, Bits, reading_of
from vision_edge.runtime.errors import require
from vision_edge.toolkit.cli.options import (
    Activation,
    BackboneName,
    DataPath,
    Device,
    Interpolation,
    Mean,
    Projection,
    Seed,
    Size,
    Split,
    Std,
    Weights,
    chosen_backbone,
    chosen_device,
)

app = command_app()


@app.command()
def tune(
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="The hub's folder; resumed if it is there.")],
    backbone: BackboneName = None,
    weights: Weights = None,
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="Number of adapters.")] = 24,
    way: Annotated[int, typer.Option("--way", min=2, help="Classes a task.")] = 5,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps a task.")] = 150,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank on query and on value.")] = 4,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a step.")] = 40,
    lr: Annotated[float, typer.Option("--lr", help="Adam's learning rate.")] = 1e-3,
    half: Annotated[bool, typer.Option("--half", help="Store adapters in float16.")] = False,
    split: Split = None,
    seed: Seed = 0,
    device: Device = "auto",
    bits: Bits = None,
    background: Background = "#ffffff",
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    projection: Projection = None,
) -> None:
    """Tune a hub: many LoRAs with heads, each on a random task from labelled images.

    Where DATA has splits, `train` is used. Interrupted, it goes on where it stopped.
    """
    require("torch")
    from vision_edge.toolkit.data.dataset import open_dataset
    from vision_edge.toolkit.tuning.tune import TuneSettings, tune_hub

    settings = TuneSettings(tasks, way, steps, rank, batch, lr, seed, half)
    images = open_dataset(data, split, default="train", reading=reading_of(bits, background))
    for line in images.found.lines():
        typer.echo(f"note: {data}: {line}", err=True)
    where = chosen_device(device)
    loaded = chosen_backbone(
        backbone, weights, size, mean, std, interpolation, activation, projection
    )
    console = Console(stderr=True)
    console.print(
        f"tuning {tasks} adapters of {loaded.name} on {images.name} "
        f"({len(images.classes)} classes, {len(images)} images) on {where}"
    )
    with Progress(console=console) as progress:
        bar = progress.add_task("tune", total=tasks)
        results = tune_hub(
            loaded,
            images,
            out,
            settings,
            device=where,
            progress=lambda result: progress.update(bar, advance=1, description=result.name),
        )
    kept = sum(result.skipped for result in results)
    typer.echo(f"{out}: {len(results)} adapters ({kept} were there already)")
