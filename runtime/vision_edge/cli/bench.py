"""`vision-edge bench`: how fast bundles are on this machine, side by side."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vision_edge.bench.cases import (
    TORCH,
    Case,
    Settings,
    TorchModel,
    cases_of,
    parse_batches,
    parse_frame,
    parse_providers,
)
from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Group, Option, present
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import VisionEdgeError, require

if TYPE_CHECKING:
    from vision_edge.bench.measure import Outcome

app = command_app()


TORCH_TOO = present("against", "--against torch")
TIMING = Group(
    Settings,
    Option("rounds", "--rounds", int, "Turns that each case takes.", min=1),
    Option("seconds", "--seconds", float, "Seconds a turn; at least 3 calls.", min=0.01),
    Option("threads", "--threads", int, "CPU threads; default: all cores.", min=1),
    Option(
        "frame",
        "--frame",
        str,
        "Size of the frames that are prepared; default: 1280x720.",
        parse=parse_frame,
    ),
    Option("products", "--products", int, "Products to tell apart.", min=1, max=100_000),
    Option("cold_starts", "--cold-starts", int, "Fresh processes to time; 0: none.", min=0),
)
RIVAL = Group(
    TorchModel,
    Option("backbone", "--backbone", str, "With --against torch: timm model name."),
    Option("weights", "--weights", Path, "With --against torch: safetensors file.", parse=str),
    Option("adapter", "--adapter", Path, "With --against torch: adapter to merge.", parse=str),
    only=(TORCH_TOO,),
)


@command(app)
def bench(
    settings: Annotated[Settings, TIMING],
    rival: Annotated[TorchModel, RIVAL],
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="BUNDLE", help="Bundles; default: the one that ships."),
    ] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="Providers, such as cpu,openvino,tensorrt.")
    ] = "auto",
    batch: Annotated[str, typer.Option("--batch", help="Images a call, such as 1,8,64.")] = "1,8",
    against: Annotated[
        str | None, typer.Option("--against", help="torch: time the PyTorch model as well.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures here.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw a chart: FILE.svg.")] = None,
) -> None:
    """Time bundles: latency, throughput, memory, cold start, and what surrounds the model.

    Each case runs in a process of its own, and the cases take turns, so that ratios are fair on a
    noisy machine. A case that cannot run is named, the others are timed, and the status is 1.
    """
    from vision_edge.bench.report import show

    providers, batches = parse_providers(provider), parse_batches(batch)
    torch = _torch(against, rival)
    if plot is not None:
        from vision_edge.runtime.reports.drawing import check_svg

        check_svg(plot)
    known = _known(bundles or [_shipped()])
    cases = cases_of([(k["label"], k["path"]) for k in known], providers, batches, torch)
    document = _measured(cases, settings, known)
    show(document, Console())
    _write(document, json_file, plot)
    if document["failed"]:
        raise VisionEdgeError(
            f"{len(document['failed'])} case(s) could not be timed; see above",
            fix="leave them out, or see what `vision-edge doctor` says",
        )


def _torch(against: str | None, rival: TorchModel) -> TorchModel | None:
    """Return the PyTorch model to compare with, if that was asked for.

    Raises:
        VisionEdgeError: If the rival is unknown, or PyTorch is absent.
    """
    if against is None:
        return None
    if against != TORCH:
        raise VisionEdgeError(f"--against {against!r}: known is torch", fix="--against torch")
    require("torch")
    return rival


def _shipped() -> Path:
    from vision_edge.runtime.bundles.shipped import asset

    return asset("bundle")


def _known(paths: list[Path]) -> list[dict[str, Any]]:
    """Verify the bundles and say what each is called in the tables."""
    from vision_edge.runtime.bundles.bundle import load_bundle

    known: list[dict[str, Any]] = []
    for path in paths:
        bundle = load_bundle(path)
        manifest = bundle.manifest
        label = f"{manifest.name} {manifest.precision}"
        if any(other["label"] == label for other in known):
            label = f"{label} ({path})"
        known.append(
            {
                "label": label,
                "path": path,
                "precision": manifest.precision,
                "model_mb": len(bundle.model) / 1e6,
                "fingerprint": manifest.fingerprint,
            }
        )
    return known


def _measured(cases: list[Case], settings: Settings, known: list[dict[str, Any]]) -> dict[str, Any]:
    """Measure everything; return the document."""
    from vision_edge.bench.measure import measure
    from vision_edge.bench.report import failures, rows

    load = os.getloadavg()[0]
    precisions = {k["label"]: k["precision"] for k in known}
    sizes = {k["label"]: k["model_mb"] for k in known}
    with Console(stderr=True).status("starting") as status:
        outcome = measure(cases, settings, precisions, status.update)
        status.update("starting fresh processes")
        starts, failed = _cold_starts(outcome, settings)
    results = [{**row, "model_mb": sizes.get(row["model"])} for row in rows(outcome)]
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu_cores": os.cpu_count() or 1,
            "load": round(load, 2),
            "architecture": platform.machine(),
            "python": platform.python_version(),
        },
        "settings": {
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "threads": settings.threads,
            "frame": list(settings.frame),
            "products": settings.products,
        },
        "bundles": [{**k, "path": str(k["path"])} for k in known],
        "results": results,
        "cold_start": starts,
        "failed": failures(outcome.failed) + failed,
    }


def _cold_starts(
    outcome: Outcome, settings: Settings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Start fresh processes of every bundle and provider that works, in turns."""
    from vision_edge.bench.cold_start import cold_start, medians

    working = {m.case.model: m for m in outcome.measured if m.case.provider != TORCH}
    runs: dict[object, list[dict[str, float]]] = {model: [] for model in working}
    broken: dict[object, str] = {}
    for _ in range(settings.cold_starts):
        for model in [model for model in working if model not in broken]:
            told = cold_start(model[1], model[2], settings.threads)
            if isinstance(told, str):
                broken[model] = told
            else:
                runs[model].append(told)
    told_of = {
        model: {"model": model[0], "bundle": str(model[1]), "provider": m.opened["provider"]}
        for model, m in working.items()
    }
    starts = [{**told_of[k], "seconds": medians(runs[k])} for k in working if runs[k]]
    failed = [
        {**told_of[k], "batch": 1, "error": f"cold start: {broken[k]}", "fix": None}
        for k in working
        if k in broken
    ]
    return starts, failed


def _write(document: dict[str, Any], json_file: Path | None, plot: Path | None) -> None:
    from vision_edge.runtime.system.files import atomic_file

    if json_file is not None:
        with atomic_file(json_file) as temporary:
            text = json.dumps(document, indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    if plot is not None and document["results"]:
        from vision_edge.bench.chart import chart

        machine = document["machine"]
        where = f"{machine['cpu_cores']} CPU cores, {machine['architecture']}"
        chart(document["results"], f"vision-edge bench, {where}, {document['date'][:10]}").save(
            plot
        )
