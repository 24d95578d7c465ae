"""`vision-edge build`: the meta-LoRA from a hub."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vision_edge.runtime.cli import command_app
from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.files import atomic_folder
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
REPORT_FILE = "report.json"


class Method(str, Enum):
    """How the meta-LoRA is made."""

    average = "average"


@app.command()
def build(
    hub: Annotated[Path, typer.Argument(metavar="HUB", help="Folder of adapters.")],
    out: Annotated[Path, typer.Option("--out", help="The meta-LoRA's folder.")],
    backbone: BackboneName = None,
    weights: Weights = None,
    method: Annotated[
        Method, typer.Option("--method", help="average: the scaled mean of products.")
    ] = Method.average,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of each projection.")] = 4,
    scale: Annotated[float, typer.Option("--scale", help="Coefficient on the mean.")] = 4.0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without adapters that cannot be used.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Recorded; `average` has nothing random.")
    ] = 0,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
) -> None:
    """Build the meta-LoRA from a hub of adapters, without their data.

    Writes a PEFT directory with `report.json` beside the weights.
    """
    require("torch")
    from vision_edge.toolkit.adapters import write_adapter
    from vision_edge.toolkit.average import AverageSettings, average_hub

    started = time.monotonic()
    settings = AverageSettings(rank, scale)
    _refuse_overwrite(out)
    loaded = chosen_backbone(backbone, weights, size, mean, std, interpolation)
    console = Console(stderr=True)
    with console.status("averaging") as status:
        result = average_hub(
            hub,
            loaded,
            settings,
            skip_bad=skip_bad,
            progress=lambda name: status.update(f"averaging {name}"),
        )
    report = {
        **result.report,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hub": hub.name,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 3),
    }
    info = {"method": method.value, "settings": {"rank": rank, "scale": scale}, "hub": hub.name}
    with atomic_folder(out) as folder:
        write_adapter(folder, result.updates, loaded, info=info)
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    _summarise(out, report)


def _refuse_overwrite(out: Path) -> None:
    """Replace only what is an adapter already."""
    if out.exists() and not (out / "adapter_config.json").is_file():
        raise VisionEdgeError(
            f"{out} exists and is not an adapter, so it is not overwritten",
            fix="give --out a new folder",
        )


def _summarise(out: Path, report: dict[str, Any]) -> None:
    adapters = report["adapters"]
    for name, reason in report["skipped"].items():
        typer.secho(f"left out {name}: {reason}", err=True, fg=typer.colors.YELLOW)
    for note in sorted({note for fact in adapters for note in fact["notes"]}):
        typer.echo(f"note: {note}", err=True)
    outliers = [fact["name"] for fact in adapters if fact["outlier"]]
    if outliers:
        typer.echo(f"note: hardly agree with the rest: {', '.join(outliers)}", err=True)
    unverified = sum(not fact["base_verified"] for fact in adapters)
    if unverified:
        typer.echo(
            f"note: {unverified} adapter(s) carry no backbone hash; only names and shapes were "
            "checked",
            err=True,
        )
    typer.echo(
        f"{out}: average of {len(adapters)} adapters, {100 * report['energy_kept']:.1f} % of the "
        f"energy kept at rank {report['settings']['rank']}, in {report['seconds']:.1f} s"
    )
