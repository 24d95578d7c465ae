"""`vision-edge build`: the meta-LoRA from a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import require
from vision_edge.toolkit.cli.build_options import (
    AVERAGE,
    INVERSION,
    META,
    PIPELINE,
    WORK,
    Method,
    Work,
)
from vision_edge.toolkit.cli.build_report import summarise_hub
from vision_edge.toolkit.cli.options import BACKBONE, TrustBase, chosen_backbone

if TYPE_CHECKING:
    from vision_edge.toolkit.averaging.average import AverageSettings
    from vision_edge.toolkit.backbones.backbone import Backbone

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
    if method is Method.average:
        settings = average.made()
        _average(hub, out, chosen_backbone(backbone), settings, skip_bad, trust_base, test)
        return
    from vision_edge.toolkit.cli.build_recycle import Said, recycle

    said = Said(average, inversion, meta, pipeline)
    recycle(hub, out, backbone, said, work, skip_bad=skip_bad, trust_base=trust_base, test=test)


def _average(
    hub: Path,
    out: Path,
    backbone: Backbone,
    settings: AverageSettings,
    skip_bad: bool,
    trust_base: bool,
    test: Path | None,
) -> None:
    from vision_edge.toolkit.data.dataset import open_dataset
    from vision_edge.toolkit.recycle.building import build_average

    data = None if test is None else open_dataset(test, default="test")
    with _status("averaging") as status:
        report = build_average(
            hub,
            out,
            backbone,
            settings,
            skip_bad=skip_bad,
            trust_base=trust_base,
            test=data,
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
