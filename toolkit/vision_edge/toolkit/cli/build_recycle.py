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

from vision_edge.cli.declarations import Given
from vision_edge.toolkit.averaging.average import AverageSettings
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions
from vision_edge.toolkit.cli.build_options import Work
from vision_edge.toolkit.cli.build_report import summarise_hub
from vision_edge.toolkit.cli.options import chosen_backbone, chosen_device, say_found
from vision_edge.toolkit.data.dataset import EVERY, Dataset, sample_of
from vision_edge.toolkit.inversion.prior import BatchNormPrior, load_prior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.learner import Row
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import existing_pool
from vision_edge.toolkit.processes import joined_ranks
from vision_edge.toolkit.recycle.building import PAGE_FILE, build_recycled
from vision_edge.toolkit.recycle.presets import preset_settings
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

if TYPE_CHECKING:
    from rich.progress import TaskID


@dataclass(frozen=True)
class Said:
    """What was said of the pipeline's settings; the rest comes from the preset.

    Attributes:
        average: Of `AverageSettings`: rank, size and weights of both averages.
        inversion: Of `InversionSettings`.
        meta: Of `MetaSettings`.
        pipeline: Of `RecycleSettings` itself.
    """

    average: Given[AverageSettings]
    inversion: Given[InversionSettings]
    meta: Given[MetaSettings]
    pipeline: Given[RecycleSettings]

    def over(self, preset: RecycleSettings) -> RecycleSettings:
        """Return a preset's settings with what was said.

        Raises:
            VisionEdgeError: If a value is out of its range, with its option's name.
        """
        return self.pipeline.over(
            preset,
            subspace=self.average.over(preset.subspace),
            average=self.average.over(preset.average),
            inversion=self.inversion.over(preset.inversion),
            meta=self.meta.over(preset.meta),
        )


def recycle(
    hub: Path,
    out: Path,
    said_of: Given[BackboneOptions],
    said: Said,
    work: Work,
    *,
    skip_bad: bool,
    trust_base: bool,
    test: Dataset | None,
) -> None:
    """Run the pipeline, show how it gets on, and write the meta-LoRA with its report.

    Raises:
        VisionEdgeError: As `recycle_hub` does.
    """
    device = chosen_device(work.device)
    preset = work.preset.value if work.preset else "gpu" if device.startswith("cuda") else "cpu"
    settings = said.over(preset_settings(preset, work.seed))
    backbone = chosen_backbone(said_of)
    _check_now(work, backbone)
    settings = _fitted(
        settings, len(backbone.model.blocks), named="pruning" in said.inversion.values
    )
    with joined_ranks(device) as ranks:
        device = f"cuda:{ranks.local}" if device == "cuda" else device
        where = replace(
            _where(work, out, device), ranks=ranks, skip_bad=skip_bad, trust_base=trust_base
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


def _check_now(work: Work, backbone: Backbone) -> None:
    """Read what is only needed late, so that what cannot be used is found out before any work.

    Raises:
        DataError: If something cannot be used.
    """
    if work.pool is not None:
        existing_pool(work.pool, backbone)
    if work.init is not None:
        every = sample_of(work.init, EVERY, reading=work.reading).readable()
        say_found(work.init, every)


def _where(work: Work, out: Path, device: str) -> Where:
    """Return on what, and with what at hand, the pipeline runs."""
    return Where(
        work=work.work or out.with_name(out.name + ".work"),
        device=device,
        compiled=work.compiled,
        prior=_prior(work, device) if work.pool is None else None,
        frames=work.init,
        reading=work.reading,
        pool=work.pool,
    )


def _fitted(settings: RecycleSettings, depth: int, *, named: bool) -> RecycleSettings:
    """Return settings whose pruning fits a backbone: what was named must, a preset's is made to.

    Args:
        settings: Of the whole pipeline.
        depth: Blocks of the backbone.
        named: Whether the pruning was given, rather than a preset's.

    Raises:
        VisionEdgeError: If a block was named that there is not.
    """
    wanted = settings.inversion.pruning
    if named:
        wanted.check(depth)
        return settings
    fitted = wanted.fitted(depth)
    if fitted == wanted:
        return settings
    said = f"{fitted} is used" if fitted.steps else "patches are not pruned"
    typer.echo(
        f"note: the preset's --prune is {wanted}, the backbone has {depth} blocks: {said}", err=True
    )
    return replace(settings, inversion=replace(settings.inversion, pruning=fitted))


def _prior(work: Work, device: str) -> BatchNormPrior | None:
    if work.prior == "none":
        typer.secho(
            "warning: without a prior only the total variation keeps images smooth; they say "
            "less about the adapters",
            err=True,
            fg=typer.colors.YELLOW,
        )
        return None
    prior = load_prior(work.prior, work.prior_weights).to(device)
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
