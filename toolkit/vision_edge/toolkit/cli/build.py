"""`vision-edge build`: the meta-LoRA from a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, modes
from vision_edge.runtime.errors import require
from vision_edge.toolkit.cli.build_report import summarise_hub
from vision_edge.toolkit.cli.options import (
    Activation,
    BackboneName,
    Device,
    Interpolation,
    Mean,
    Projection,
    Seed,
    Size,
    Std,
    TrustBase,
    Weights,
    chosen_backbone,
)

if TYPE_CHECKING:
    from vision_edge.toolkit.averaging.products import AverageSettings
    from vision_edge.toolkit.backbones.backbone import Backbone

app = command_app()
RECYCLE_PANEL = "Recycle"


class Method(str, Enum):
    """How the meta-LoRA is made."""

    average = "average"
    recycle = "recycle"


class Preset(str, Enum):
    """How much work recycle does."""

    gpu = "gpu"
    cpu = "cpu"


def _option(name: str, text: str, **more: Any) -> Any:
    """Return an option of `--method recycle` alone."""
    return typer.Option(name, help=text, rich_help_panel=RECYCLE_PANEL, **more)


RECYCLE = Only(
    "--method recycle",
    lambda o: o["method"] is Method.recycle,
    "device", "preset", "work", "per_class", "iterations", "prune", "prior", "prior_weights",
    "init", "pool", "start", "sparsity", "meta_steps", "meta_lr", "accumulate", "batch",
    "compiled", "test",
)  # fmt: skip


@app.command()
@modes(
    RECYCLE,
    Only(
        "a build that inverts (no --pool)",
        lambda o: o["pool"] is None,
        "per_class", "iterations", "prune", "prior", "prior_weights", "init", "batch",
    ),
    Only("--prior NAME", lambda o: o["prior"] not in (None, "none"), "prior_weights"),
    Only(
        "a build that meta-learns (--meta-steps above 0)",
        lambda o: o["meta_steps"] != 0,
        "sparsity", "meta_lr", "accumulate",
    ),
)  # fmt: skip
def build(
    hub: Annotated[Path, typer.Argument(metavar="HUB", help="Folder of adapters.")],
    out: Annotated[Path, typer.Option("--out", help="The meta-LoRA's folder.")],
    backbone: BackboneName = None,
    weights: Weights = None,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="average: the scaled mean of products, in seconds. recycle: the subspace "
            "average, LoRA Inversion and meta-learning.",
        ),
    ] = Method.average,
    rank: Annotated[
        int | None,
        typer.Option(
            "--rank", min=1, help="Rank of each projection; default: 4 (average), 96 (recycle)."
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            help="Coefficient on the mean (average; default 4). For recycle the size follows "
            "from how far the adapters agree, and this is its gain (default 40).",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without adapters that cannot be used.")
    ] = False,
    trust_base: TrustBase = False,
    seed: Seed = 0,
    device: Device = "auto",
    preset: Annotated[
        Preset | None, _option("--preset", "Amount of work; default: by the device.")
    ] = None,
    work: Annotated[
        Path | None,
        _option("--work", "Folder for what is finished, to resume from; default: OUT.work."),
    ] = None,
    per_class: Annotated[int | None, _option("--per-class", "Images a class.", min=1)] = None,
    iterations: Annotated[
        int | None, _option("--iterations", "Iterations of inversion.", min=1)
    ] = None,
    prune: Annotated[
        str | None,
        _option("--prune", "Blocks that drop patches in inversion: 6:0.75 or 3:0.3,6:0.3."),
    ] = None,
    prior: Annotated[
        str | None,
        _option("--prior", "timm network or safetensors file; default: embedded; 'none': none."),
    ] = None,
    prior_weights: Annotated[
        Path | None, _option("--prior-weights", "Safetensors file with the weights of --prior.")
    ] = None,
    init: Annotated[
        Path | None,
        _option("--init", "Unlabelled images that inversion starts from; default: noise."),
    ] = None,
    pool: Annotated[
        Path | None, _option("--pool", "A synthetic pool made earlier, instead of inversion.")
    ] = None,
    start: Annotated[
        str, _option("--start", "Where meta-learning starts: subspace, average or random.")
    ] = "subspace",
    sparsity: Annotated[
        float | None, _option("--sparsity", "Share of the patches that meta-learning leaves out.")
    ] = None,
    meta_steps: Annotated[
        int | None, _option("--meta-steps", "Steps of meta-learning.", min=0)
    ] = None,
    meta_lr: Annotated[float | None, _option("--meta-lr", "Its highest learning rate.")] = None,
    accumulate: Annotated[
        int, _option("--accumulate", "Parts a step is split into, to need less memory.", min=1)
    ] = 1,
    batch: Annotated[
        int | None, _option("--batch", "Images inverted together; default: by the device.", min=1)
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the models; default: on a GPU.",
            rich_help_panel=RECYCLE_PANEL,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        _option("--test", "Labelled images to fill the report's table with, when all is done."),
    ] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    projection: Projection = None,
) -> None:
    """Build the meta-LoRA from a hub of adapters, without their data.

    Writes a PEFT directory with `report.json` beside the weights, and for recycle `report.html`
    and `pool.png`. Under `torchrun` the work of recycle is shared by all processes.
    """
    require("torch")

    from vision_edge.toolkit.recycle.building import refuse_overwrite

    refuse_overwrite(out)
    loaded = chosen_backbone(
        backbone, weights, size, mean, std, interpolation, activation, projection
    )
    if method is Method.average:
        from vision_edge.toolkit.averaging.products import AverageSettings

        settings = AverageSettings(rank or 4, 4.0 if scale is None else scale)
        _average(hub, out, loaded, settings, skip_bad, trust_base, seed)
        return
    from vision_edge.toolkit.cli.build_recycle import RecycleOptions, recycle

    recycle(
        hub,
        out,
        loaded,
        RecycleOptions(
            device=device,
            preset=preset.value if preset else None,
            work=work or out.with_name(out.name + ".work"),
            rank=rank,
            gain=scale,
            seed=seed,
            skip_bad=skip_bad,
            trust_base=trust_base,
            per_class=per_class,
            iterations=iterations,
            prune=prune,
            prior=prior,
            prior_weights=prior_weights,
            init=init,
            pool=pool,
            start=start,
            sparsity=sparsity,
            meta_steps=meta_steps,
            meta_lr=meta_lr,
            accumulate=accumulate,
            batch=batch,
            compiled=compiled,
            test=test,
        ),
    )


def _average(
    hub: Path,
    out: Path,
    backbone: Backbone,
    settings: AverageSettings,
    skip_bad: bool,
    trust_base: bool,
    seed: int,
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
            seed=seed,
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
