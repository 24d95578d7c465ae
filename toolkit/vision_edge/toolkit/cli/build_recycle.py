"""`vision-edge build --method recycle`: options, progress and report of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import Progress

from vision_edge.export.model.pruning import Pruning
from vision_edge.toolkit.averaging.average import AverageSettings
from vision_edge.toolkit.averaging.usable import Weights
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.cli.build_report import summarise_hub
from vision_edge.toolkit.cli.options import chosen_device
from vision_edge.toolkit.data.dataset import open_dataset
from vision_edge.toolkit.inversion.prior import BatchNormPrior, load_prior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.learner import Row
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.processes import joined_ranks
from vision_edge.toolkit.recycle.building import PAGE_FILE, build_recycled
from vision_edge.toolkit.recycle.presets import PRESETS
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

if TYPE_CHECKING:
    from rich.progress import TaskID


@dataclass(frozen=True)
class RecycleOptions:
    """The command's options; what is None comes from the preset. See `vision-edge build --help`."""

    device: str
    preset: str | None
    work: Path
    rank: int | None
    scale: float
    weights_of: Weights
    seed: int
    skip_bad: bool
    trust_base: bool
    per_class: int | None
    iterations: int | None
    prune: str | None
    prior: str | None
    prior_weights: Path | None
    init: Path | None
    pool: Path | None
    start: str
    sparsity: float | None
    meta_steps: int | None
    meta_lr: float | None
    accumulate: int
    batch: int | None
    compiled: bool | None
    test: Path | None


def settings_of(options: RecycleOptions, device: str, depth: int) -> RecycleSettings:
    """Return the pipeline's settings: the options before the preset.

    Args:
        options: What was given.
        device: What it runs on, which decides the preset.
        depth: Blocks of the backbone; a preset's pruning at blocks beyond is left out, and said.

    Raises:
        VisionEdgeError: If one is out of its range.
    """
    amount = PRESETS[options.preset or ("gpu" if device.startswith("cuda") else "cpu")]
    defaults = RecycleSettings()
    lr = MetaSettings.lr if options.meta_lr is None else options.meta_lr
    return RecycleSettings(
        subspace=_averaging(options, defaults.subspace),
        average=_averaging(options, defaults.average),
        inversion=InversionSettings(
            per_class=options.per_class or amount.per_class,
            iterations=options.iterations or amount.iterations,
            pruning=_pruning(options.prune, amount.prune, depth),
            seed=options.seed,
        ),
        meta=MetaSettings(
            steps=amount.meta_steps if options.meta_steps is None else options.meta_steps,
            shape=TaskShape(query=amount.query),
            lr=lr,
            sparsity=amount.sparsity if options.sparsity is None else options.sparsity,
            accumulate=options.accumulate,
            evaluate_tasks=amount.evaluate_tasks,
            seed=options.seed,
        ),
        start=options.start,
        batch=options.batch,
    )


def _pruning(given: str | None, preset: str, depth: int) -> Pruning:
    """Return what was given, or as much of the preset as the backbone has blocks for."""
    if given is not None:
        pruning = Pruning.parse(given)
        pruning.check(depth)
        return pruning
    wanted = Pruning.parse(preset)
    fitted = wanted.fitted(depth)
    if fitted != wanted:
        said = f"{fitted} is used" if fitted.steps else "patches are not pruned"
        typer.echo(
            f"note: the preset prunes at {wanted}, the backbone has {depth} blocks: {said}",
            err=True,
        )
    return fitted


def _averaging(options: RecycleOptions, default: AverageSettings) -> AverageSettings:
    """Return an average's settings: the options before its defaults."""
    return replace(
        default,
        rank=options.rank or default.rank,
        scale=options.scale,
        weights_of=options.weights_of,
    )


def recycle(hub: Path, out: Path, backbone: Backbone, options: RecycleOptions) -> None:
    """Run the pipeline, show how it gets on, and write the meta-LoRA with its report.

    Raises:
        VisionEdgeError: As `recycle_hub` does.
    """
    device = chosen_device(options.device)
    settings = settings_of(options, device, len(backbone.model.blocks))
    test = None  # opened now rather than at the end
    if options.test is not None:
        test = open_dataset(options.test, default="test")
    with joined_ranks(device) as ranks:
        device = f"cuda:{ranks.local}" if device == "cuda" else device
        where = Where(
            work=options.work,
            device=device,
            compiled=device.startswith("cuda") if options.compiled is None else options.compiled,
            ranks=ranks,
            prior=_prior(options, device),
            frames=options.init,
            pool=options.pool,
            skip_bad=options.skip_bad,
            trust_base=options.trust_base,
        )
        with _watching(settings, where) as watch:
            report = build_recycled(hub, out, backbone, settings, where, watch, test=test)
        if report is not None:
            summarise_hub(report)
            typer.echo(
                f"{out}: recycled {len(report['adapters'])} adapters in {report['seconds']:.0f} s "
                f"(step {report['step']} of meta-learning); see {out / PAGE_FILE}"
            )
        ranks.wait()


def _prior(options: RecycleOptions, device: str) -> BatchNormPrior | None:
    if options.prior == "none":
        typer.secho(
            "warning: without a prior only the total variation keeps images smooth; they say "
            "less about the adapters",
            err=True,
            fg=typer.colors.YELLOW,
        )
        return None
    prior = load_prior(options.prior, options.prior_weights).to(device)
    if device.startswith("cuda"):
        prior = prior.bfloat16()
    return prior


@contextmanager
def _watching(settings: RecycleSettings, where: Where) -> Iterator[Watch]:
    """Show a progress bar a stage, on the first process."""
    console = Console(stderr=True, quiet=not where.ranks.first)
    with Progress(console=console) as progress:
        bars: dict[str, TaskID] = {}

        def stage(name: str) -> None:
            bars["now"] = progress.add_task(name, total=None)

        def adapter(name: str) -> None:
            progress.update(
                bars["now"], description=f"{progress.tasks[-1].description.split()[0]} {name}"
            )

        def inverted(done: int, total: int) -> None:
            progress.update(bars["now"], completed=done, total=total)

        def row(row: Row) -> None:
            progress.update(bars["now"], completed=row["step"], total=settings.meta.steps)
            console.print(
                f"  step {row['step']}: loss {row['held_out_loss']:.4f}, accuracy "
                f"{row['held_out_accuracy']:.1f} % on synthetic tasks held out"
            )

        def note(text: str) -> None:
            console.print(f"note: {text}")

        yield Watch(stage, adapter, inverted, row, note)
