"""`vision-edge evaluate`: models side by side on N-way K-shot episodes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Mode, Only, Option, present
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import AdapterError, VisionEdgeError, require
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.reports.drawing import check_svg
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.cli.options import (
    BACKBONE_OPTIONS,
    FILES_READ,
    INPUT,
    SEED,
    DataPath,
    Device,
    Split,
    TrustBase,
    chosen_device,
    say_found,
    say_notes,
)
from vision_edge.toolkit.data.dataset import open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings
from vision_edge.toolkit.evaluation.evaluate import chart, to_document
from vision_edge.toolkit.evaluation.evaluate import evaluate as run_evaluation

if TYPE_CHECKING:
    from vision_edge.toolkit.adapters.adapter import Adapter
    from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions

app = command_app()


MODELS = Mode(
    "a backbone (--backbone, --weights or --adapter)",
    lambda v: bool(v["backbone"] or v["weights"] or v["adapter"] or not v["bundle"]),
)
PROTOCOL = Group(
    EpisodeSettings,
    Option("way", "--way", int, "Classes an episode.", min=2),
    Option("shot", "--shot", int, "Support images a class.", min=1),
    Option("query", "--query", int, "Query images a class.", min=1),
    Option("episodes", "--episodes", int, "How many.", min=2),
    SEED,
)


@command(app)
def evaluate(
    data: DataPath,
    settings: Annotated[EpisodeSettings, PROTOCOL],
    reading: Annotated[Reading, FILES_READ],
    prepared: Annotated[Given[Any], Group(BACKBONE_OPTIONS, *INPUT, only=(MODELS,))],
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", help="A bundle; may be repeated.")
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="timm model name; may be repeated.")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", help="Safetensors file of the backbone given likewise."),
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option("--adapter", help="Adapter, put on the backbone it fits; may be repeated."),
    ] = None,
    trust_base: Annotated[TrustBase, Only(present("adapter"))] = False,
    split: Split = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results here.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the results here: FILE.svg.")
    ] = None,
    device: Annotated[Device, Only(MODELS)] = "auto",
) -> None:
    """Compare backbones, adapters and bundles on the same N-way K-shot episodes.

    Where DATA has splits, `test` is used. A backbone is always shown without adapter too: plain
    nearest prototype (NN) is what an adapter has to beat. With --bundle alone no torch is needed.
    """
    if plot is not None:
        check_svg(plot)
    dataset = open_dataset(data, split, default="test", reading=reading)
    used = [dataset]
    embedders: list[Embedder] = []
    if backbone or weights or adapter or not bundle:
        require("torch")
        options = _options(backbone or [], weights or [], prepared)
        embedders += _with_adapters(options, adapter or [], chosen_device(device), trust_base)
    embedders += [open_session(load_bundle(path)) for path in bundle or []]
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("embedding", total=len(dataset))
            rows = run_evaluation(
                dataset,
                embedders,
                settings,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
                used=used.append,
            )
    finally:
        say_found(data, used[-1])  # also where too few are left
    document = to_document(used[-1], settings, rows)
    if json_file is not None:
        with atomic_file(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    Console().print(_table(document))
    if plot is not None:
        chart(document).save(plot)


def _options(
    names: list[str], weights: list[Path], prepared: Given[BackboneOptions]
) -> list[BackboneOptions]:
    if not names and not weights:
        return [prepared.made()]
    if names and weights and len(names) != len(weights):
        raise VisionEdgeError(
            f"{len(names)} --backbone and {len(weights)} --weights do not pair up",
            fix="give each backbone its weights, in the same order",
        )
    count = max(len(names), len(weights))
    return [
        prepared.made(name=names[i] if names else None, weights=weights[i] if weights else None)
        for i in range(count)
    ]


def _with_adapters(
    options: list[BackboneOptions], adapters: list[Path], device: str, trust_base: bool = False
) -> list[Embedder]:
    """Return each backbone, followed by each adapter merged into the backbone it fits."""
    from vision_edge.toolkit.backbones.backbone import load_backbone

    backbones = [load_backbone(option) for option in options]
    for one in backbones:
        say_notes(one)
    embedders: list[Embedder] = [_embedder(one, f"{one.name} (NN)", device) for one in backbones]
    return embedders + [_merged(path, backbones, device, trust_base) for path in adapters]


def _merged(path: Path, backbones: list[Backbone], device: str, trust_base: bool) -> Embedder:
    from vision_edge.export.model.merge import merge

    adapter, backbone = _fitting(path, backbones, trust_base)
    for note in adapter.notes:
        typer.echo(f"note: {adapter.name}: {note}", err=True)
    merged = copy.deepcopy(backbone)
    merge(merged.model, adapter.updates)
    return _embedder(merged, f"{backbone.name} + {path.name} ({adapter.method})", device)


def _fitting(path: Path, backbones: list[Backbone], trust_base: bool) -> tuple[Adapter, Backbone]:
    """Return the adapter and the backbone it fits: of all the first that needs no trust."""
    from vision_edge.toolkit.adapters.adapter import read_adapter

    problems: list[AdapterError] = []
    for trust in (False, True)[: 1 + trust_base]:
        for backbone in backbones:
            try:
                adapter = read_adapter(path, backbone, trust_base=trust)
            except AdapterError as error:
                problems.append(error)
                continue
            return adapter, backbone
    raise problems[0]


def _embedder(backbone: Backbone, name: str, device: str) -> Embedder:
    backbone.model.to(device)
    return backbone.embedder(name)


def _table(document: dict[str, Any]) -> Table:
    title = (
        f"{document['data']}: {document['way']}-way {document['shot']}-shot, "
        f"{document['episodes']} episodes of {document['query']} queries a class, accuracy in %"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("embedder")
    for metric in document["results"][0]["metrics"]:
        table.add_column(metric.replace("-", " "), justify="right")
    for result in document["results"]:
        cells = [f"{v['mean']:.2f} ± {v['ci95']:.2f}" for v in result["metrics"].values()]
        table.add_row(result["name"], *cells)
    return table
