"""`vision-edge tune`: a lora hub from labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Option
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.reading import Reading
from vision_edge.toolkit.cli.options import (
    BACKBONE,
    FILES_READ,
    SEED,
    DataPath,
    Device,
    Split,
    chosen_backbone,
    chosen_device,
    say_found,
)
from vision_edge.toolkit.tuning.settings import TuneSettings

app = command_app()
TUNING = Group(
    TuneSettings,
    Option("tasks", "--tasks", int, "Number of adapters.", min=1),
    Option("way", "--way", int, "Classes a task.", min=2),
    Option("steps", "--steps", int, "Optimiser steps a task.", min=1),
    Option("rank", "--rank", int, "Rank on query and on value.", min=1),
    Option("batch", "--batch", int, "Images a step.", min=1),
    Option("lr", "--lr", float, "Adam's learning rate."),
    Option("half", "--half", bool, "Store adapters in float16."),
    SEED,
)


@command(app)
def tune(
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", help="The hub's folder; resumed if it is there.")],
    backbone: Annotated[Given[Any], BACKBONE],
    settings: Annotated[TuneSettings, TUNING],
    reading: Annotated[Reading, FILES_READ],
    split: Split = None,
    device: Device = "auto",
) -> None:
    """Tune a hub: many LoRAs with heads, each on a random task from labelled images.

    Where DATA has splits, `train` is used. Interrupted, it goes on where it stopped.
    """
    require("torch")
    from vision_edge.toolkit.data.dataset import open_dataset
    from vision_edge.toolkit.tuning.tune import tune_hub

    where = chosen_device(device)
    images = open_dataset(data, split, default="train", reading=reading)
    loaded = chosen_backbone(backbone)
    images = images.readable()
    say_found(data, images)
    console = Console(stderr=True)
    console.print(
        f"tuning {settings.tasks} adapters of {loaded.name} on {images.name} "
        f"({len(images.classes)} classes, {len(images)} images) on {where}"
    )
    with Progress(console=console) as progress:
        bar = progress.add_task("tune", total=settings.tasks)
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
