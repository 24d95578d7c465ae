"""`vision-edge build`: the meta-LoRA from a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Only
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.reading import Reading
from vision_edge.toolkit.cli.build_options import (
    AVERAGE,
    INVERSION,
    META,
    PIPELINE,
    REAL_PICTURES,
    WORK,
    Method,
    Work,
)
from vision_edge.toolkit.cli.build_report import summarise_hub
from vision_edge.toolkit.cli.options import (
    BACKBONE,
    FILES_READ,
    TrustBase,
    chosen_backbone,
    say_found,
)

if TYPE_CHECKING:
    from vision_edge.toolkit.averaging.average import AverageSettings
    from vision_edge.toolkit.backbones.backbone import Backbone
    from vision_edge.toolkit.data.dataset import Dataset

app = command_app()


@command(app)
def build(
    hub: Annotated[Path, typer.Argument(metavar="HUB", help="Folder of adapters.")],
    out: Annotated[Path, typer.Option("--out", help="The meta-LoRA's folder.")],
    backbone: Annotated[Given[Any], BACKBONE],
    average: Annotated[Given[Any], AVERAGE],
    work: Annotated[Work, WORK],
    inversion: Annotated[Given[Any], INVERSION],
    meta: Annotated[Given[Any], META],
    pipeline: Annotated[Given[Any], PIPELINE],
    reading: Annotated[Reading, FILES_READ, Only(REAL_PICTURES)],
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="average: what the adapters have in common, in seconds, without inversion. "
            "recycle: starts from that, then LoRA Inversion and meta-learning.",
        ),
    ] = Method.average,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without adapters that cannot be used.")
    ] = False,
    trust_base: TrustBase = False,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            help="Labelled images on which the plain backbone is compared, when all is done; says "
            "loudly if the meta-LoRA is worse.",
        ),
    ] = None,
) -> None:
    """Build the meta-LoRA from a hub of adapters, without their data.

    Writes a PEFT directory with `report.json` beside the weights, and for recycle `report.html`
    and `pool.png`. Under `torchrun` the work of recycle is shared by all processes.
    """
    require("torch")

    from vision_edge.toolkit.recycle.building import refuse_overwrite

    refuse_overwrite(out)
    data = None if test is None else opened_test(test, reading)
    if method is Method.average:
        settings = average.made()
        _average(hub, out, chosen_backbone(backbone), settings, skip_bad, trust_base, data)
        return
    from vision_edge.toolkit.cli.build_recycle import Said, recycle

    said = Said(average, inversion, meta, pipeline)
    work = replace(work, reading=reading)
    recycle(hub, out, backbone, said, work, skip_bad=skip_bad, trust_base=trust_base, test=data)


def opened_test(path: Path, reading: Reading) -> Dataset:
    """Open the labelled images of the report before any work, and say what is passed over."""
    from vision_edge.toolkit.data.dataset import open_dataset

    data = open_dataset(path, default="test", reading=reading).readable()
    say_found(path, data)
    return data


def _average(
    hub: Path,
    out: Path,
    backbone: Backbone,
    settings: AverageSettings,
    skip_bad: bool,
    trust_base: bool,
    test: Dataset | None,
) -> None:
    from vision_edge.toolkit.recycle.building import build_average

    with _status("averaging") as status:
        report = build_average(
            hub,
            out,
            backbone,
            settings,
            skip_bad=skip_bad,
            trust_base=trust_base,
            test=test,
            progress=lambda name: status.update(f"averaging {name}"),
        )
    summarise_hub(report)
    typer.echo(
        f"{out}: average of {len(report['adapters'])} adapters, "
        f"{100 * report['energy_kept']:.1f} % of the energy kept at rank {settings.rank}, "
        f"in {report['seconds']:.1f} s"
    )


@contextmanager
def _status(text: str) -> Iterator[Any]:
    with Console(stderr=True).status(text) as status:
        yield status
