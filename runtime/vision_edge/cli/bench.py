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

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, modes
from vision_edge.runtime.errors import VisionEdgeError, require

if TYPE_CHECKING:
    from vision_edge.bench.cases import Case, Settings, TorchModel
    from vision_edge.bench.measure import Outcome

app = command_app()


@app.command()
@modes(
    Only("--against torch", lambda o: o["against"] is not None, "backbone", "weights", "adapter"),
)
def bench(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="BUNDLE", help="Bundles; default: the one that ships."),
    ] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="Providers, such as cpu,openvino,tensorrt.")
    ] = "auto",
    batch: Annotated[str, typer.Option("--batch", help="Images a call, such as 1,8,64.")] = "1,8",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; default: all cores.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that each case takes.")] = 5,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, help="Seconds a turn; at least 3 calls.")
    ] = 0.5,
    frame: Annotated[
        str, typer.Option("--frame", help="Size of the frames that are prepared.")
    ] = "1280x720",
    products: Annotated[
        int, typer.Option("--products", min=1, max=100_000, help="Products to tell apart.")
    ] = 20,
    cold_starts: Annotated[
        int, typer.Option("--cold-starts", min=0, help="Fresh processes to time; 0: none.")
    ] = 5,
    against: Annotated[
        str | None, typer.Option("--against", help="torch: time the PyTorch model as well.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="With --against torch: timm model name.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="With --against torch: safetensors file.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="With --against torch: adapter to merge.")
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
    from vision_edge.bench.cases import (
        Settings,
        cases_of,
        parse_batches,
        parse_frame,
        parse_providers,
    )
    from vision_edge.bench.report import show

    settings = Settings(rounds, seconds, threads, parse_frame(frame), products, cold_starts)
    providers, batches = parse_providers(provider), parse_batches(batch)
    torch = _torch(against, backbone, weights, adapter)
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


def _torch(
    against: str | None, backbone: str | None, weights: Path | None, adapter: Path | None
) -> TorchModel | None:
    """Return the PyTorch model to compare with, if that was asked for.

    Raises:
        VisionEdgeError: If the options contradict each other, or PyTorch is absent.
    """
    from vision_edge.bench.cases import TORCH, TorchModel

    if against is None:
        return None
    if against != TORCH:
        raise VisionEdgeError(f"--against {against!r}: known is torch", fix="--against torch")
    require("torch")
    paths = (None if path is None else str(path) for path in (weights, adapter))
    return TorchModel(backbone, *paths)


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
    from vision_edge.bench.cases import TORCH
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
