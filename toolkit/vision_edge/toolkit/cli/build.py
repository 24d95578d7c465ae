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
    BackboneName,
    Device,
    Interpolation,
    Mean,
    Seed,
    Size,
    Std,
    TrustBase,
    Weights,
    chosen_backbone,
)

if TYPE_CHECKING:
    from vision_edge.toolkit.averaging.average import AverageSettings
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
    "compiled",
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
            help="average: what the adapters have in common, in seconds, without inversion. "
            "recycle: starts from that, then LoRA Inversion and meta-learning.",
        ),
    ] = Method.average,
    rank: Annotated[
        int | None,
        typer.Option("--rank", min=1, help="Most rank-one terms of each projection; default: 96."),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(
            "--scale",
            help="Multiple of the size that turns embeddings as far as the rule says: 1 is the "
            "rule's, 0.7 milder, 1.3 about as far as it goes.",
        ),
    ] = 1.0,
    weights_of: Annotated[
        list[str] | None,
        typer.Option(
            "--weights-of",
            metavar="PATTERN=WEIGHT",
            help="Weight of the adapters whose names match, such as 'grocery-*=2'; 0 leaves them "
            "out; may be given again.",
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
        typer.Option(
            "--test",
            help="Labelled images on which the plain backbone is compared, when all is done; says "
            "loudly if the meta-LoRA is worse.",
        ),
    ] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
) -> None:
    """Build the meta-LoRA from a hub of adapters, without their data.

    Writes a PEFT directory with `report.json` beside the weights, and for recycle `report.html`
    and `pool.png`. Under `torchrun` the work of recycle is shared by all processes.
    """
    require("torch")

    from vision_edge.toolkit.averaging.usable import parse_weights
    from vision_edge.toolkit.recycle.building import refuse_overwrite

    refuse_overwrite(out)
    given = parse_weights(weights_of or [])
    loaded = chosen_backbone(backbone, weights, size, mean, std, interpolation)
    if method is Method.average:
        from vision_edge.toolkit.averaging.average import AverageSettings

        settings = AverageSettings(rank=rank or AverageSettings.rank, scale=scale, weights_of=given)
        _average(hub, out, loaded, settings, skip_bad, trust_base, seed, test)
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
            scale=scale,
            weights_of=given,
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
            seed=seed,
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
