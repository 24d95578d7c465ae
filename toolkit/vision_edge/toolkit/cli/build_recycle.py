"""`vision-edge build --method recycle`: options, progress and report of the pipeline."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.system.files import atomic_folder
from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.averaging.factors import factor_average
from vision_edge.toolkit.averaging.products import AverageSettings
from vision_edge.toolkit.averaging.subspace import SubspaceSettings
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.cli.build_report import origin, summarise_hub, write_report
from vision_edge.toolkit.cli.options import chosen_device
from vision_edge.toolkit.data.dataset import open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings
from vision_edge.toolkit.evaluation.evaluate import evaluate, to_document
from vision_edge.toolkit.inversion.prior import BatchNormPrior, load_prior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.held_out_tasks import held_out_document
from vision_edge.toolkit.meta.learner import Row
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.processes import joined_ranks
from vision_edge.toolkit.recycle.pipeline import RecycleResult, recycle_hub
from vision_edge.toolkit.recycle.presets import PRESETS
from vision_edge.toolkit.recycle.report.facts import contact_sheet, recycle_report, write_page
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

PAGE_FILE = "report.html"
SHEET_FILE = "pool.png"

if TYPE_CHECKING:
    from rich.progress import TaskID


@dataclass(frozen=True)
class RecycleOptions:
    """The command's options; what is None comes from the preset. See `vision-edge build --help`."""

    device: str
    preset: str | None
    work: Path
    rank: int | None
    gain: float | None
    seed: int
    skip_bad: bool
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


"""`gpu`: minutes on a GPU. `cpu`: minutes on two CPU cores."""


def settings_of(options: RecycleOptions, device: str) -> RecycleSettings:
    """Return the pipeline's settings: the options before the preset.

    Raises:
        VisionEdgeError: If one is out of its range.
    """
    amount = PRESETS[options.preset or ("gpu" if device.startswith("cuda") else "cpu")]
    gain = SubspaceSettings.gain if options.gain is None else options.gain
    lr = MetaSettings.lr if options.meta_lr is None else options.meta_lr
    return RecycleSettings(
        subspace=SubspaceSettings(rank=options.rank or SubspaceSettings.rank, gain=gain),
        average=AverageSettings(rank=options.rank or AverageSettings.rank),
        inversion=InversionSettings(
            per_class=options.per_class or amount.per_class,
            iterations=options.iterations or amount.iterations,
            pruning=Pruning.parse(amount.prune if options.prune is None else options.prune),
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


def recycle(
    hub: Path, out: Path, backbone: Backbone, options: RecycleOptions, started: float
) -> None:
    """Run the pipeline, show how it gets on, and write the meta-LoRA with its report.

    Raises:
        VisionEdgeError: As `recycle_hub` does.
    """
    device = chosen_device(options.device)
    settings = settings_of(options, device)
    if options.test is not None:  # found out now rather than at the end
        open_dataset(options.test, default="test")
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
        )
        result = _watched(hub, backbone, settings, where)
        if ranks.first:
            _write(hub, out, backbone, options, settings, result, started, device)
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


def _watched(
    hub: Path, backbone: Backbone, settings: RecycleSettings, where: Where
) -> RecycleResult:
    """Run the pipeline under a progress bar a stage, on the first process."""
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

        return recycle_hub(hub, backbone, settings, where, Watch(stage, adapter, inverted, row))


def _write(
    hub: Path,
    out: Path,
    backbone: Backbone,
    options: RecycleOptions,
    settings: RecycleSettings,
    result: RecycleResult,
    started: float,
    device: str,
) -> None:
    """Measure the baselines, and write adapter, report, page and contact sheet as one folder."""
    states = _states(hub, backbone, result)
    tables = [held_out_document(backbone, states, result.parts, settings.meta, device)]
    if options.test is not None:
        tables.append(_real_table(options.test, backbone, states, device))
    report = {
        **recycle_report(result, settings, backbone, hub.name, tables),
        **origin(hub, options.seed, started),
    }
    info = {"method": "recycle", "settings": settings.document(), "hub": hub.name}
    sheet = bytes(cv2.imencode(".png", contact_sheet(result.parts))[1])
    with atomic_folder(out) as folder:
        write_adapter(folder, result.updates, backbone, info=info)
        write_report(folder, report)
        (folder / SHEET_FILE).write_bytes(sheet)
        write_page(folder / PAGE_FILE, report, sheet)
    summarise_hub(report)
    typer.echo(
        f"{out}: recycled {len(result.parts)} adapters in {report['seconds']:.0f} s "
        f"(step {result.meta.step} of meta-learning); see {out / PAGE_FILE}"
    )


def _states(
    hub: Path, backbone: Backbone, result: RecycleResult
) -> dict[str, Mapping[str, LowRank]]:
    """Return what the report compares, by name, the plain backbone first."""
    states: dict[str, Mapping[str, LowRank]] = {backbone.name: {}}
    skipped = frozenset(result.average.report["skipped"])
    try:
        states["LoRAs Avg (factors)"] = factor_average(hub, backbone, skipped)
    except AdapterError as error:
        typer.echo(f"note: without the paper's LoRAs Avg: {error.what}", err=True)
    states["average of products"] = result.average.updates
    states["subspace average"] = result.subspace.updates
    states["recycled"] = result.updates
    return states


def _real_table(
    path: Path, backbone: Backbone, states: Mapping[str, Mapping[str, LowRank]], device: str
) -> dict[str, Any]:
    """Evaluate on labelled images, which nothing was chosen by."""
    data = open_dataset(path, default="test")
    episodes = EpisodeSettings()
    embedders = []
    for name, updates in states.items():
        changed = copy.deepcopy(backbone.model)
        merge(changed, updates)
        embedders.append(TorchEmbedder(changed.to(device), backbone.spec, name))
    return to_document(data, episodes, evaluate(data, embedders, episodes))
