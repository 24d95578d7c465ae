"""What was measured, as JSON values and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vision_edge.bench.cold_start import STEPS
from vision_edge.bench.measure import Failed, Measured, Outcome

Titled = tuple[str, Table]
PARTS = ("prepare", "embed", "classify")
COLD_START_TARGET = 1.5
"""Seconds to the first verdict that a cold start on a CPU should not exceed."""


def row(measured: Measured, reference: Measured | None) -> dict[str, Any]:
    """Return one case as JSON values; times in milliseconds, memory in MB."""
    case, times = measured.case, measured.all("embed")
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    parts = {part: measured.per_image(part) for part in PARTS}
    whole = sum(parts.values())
    return {
        "model": case.label,
        "bundle": str(case.bundle),
        "provider": measured.opened["provider"],
        "batch": case.batch,
        "calls": len(times),
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
        "p99_ms": round(p99, 3),
        "cpu_ms": round(float(np.median(measured.all("cpu"))), 3),
        "images_per_second": round(measured.images_per_second(), 2),
        "ratio": None if reference is None else round(measured.ratio_to(reference), 3),
        "least_cosine": measured.cosine,
        "open_s": round(measured.opened["open_s"], 3),
        "first_call_ms": round(measured.opened["first_ms"], 3),
        "peak_mb": round(measured.peak_mb, 1),
        "added_mb": round(measured.peak_mb - measured.opened["before_mb"], 1),
        "per_image_ms": {part: round(value, 3) for part, value in parts.items()},
        "share": {part: round(value / max(whole, 1e-9), 4) for part, value in parts.items()},
    }


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return all that was measured."""
    return [row(m, outcome.reference(m.case.batch)) for m in outcome.measured]


def failures(failed: Sequence[Failed]) -> list[dict[str, Any]]:
    """Return what could not be measured."""
    return [
        {
            "model": f.case.label,
            "bundle": str(f.case.bundle),
            "provider": f.case.provider,
            "batch": f.case.batch,
            "error": f.what,
            "fix": f.fix,
        }
        for f in failed
    ]


def show(document: dict[str, Any], console: Console) -> None:
    """Print the report."""
    results = document["results"]
    tables = [_latency(results), _resources(results), _parts(results, document["settings"])]
    tables = tables if results else []
    if document["cold_start"]:
        tables.append(_cold_start(document["cold_start"]))
    for title, table in tables:
        console.print(Text(title, style="bold"), soft_wrap=True)
        console.print(table, "")
    machine = document["machine"]
    if machine["load"] > machine["cpu_cores"]:
        told = f"load {machine['load']:.1f} on {machine['cpu_cores']} cores when it began"
        console.print(f"note: the machine is busy ({told}): trust ratios and cpu, not times")
    for failed in document["failed"]:
        told = f"{failed['model']} on {failed['provider']}, batch {failed['batch']}: "
        console.print(Text(f"not timed: {told}{failed['error']}", style="red"), soft_wrap=True)
        if failed["fix"]:
            console.print(Text(f"  fix: {failed['fix']}"), soft_wrap=True)


def _table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1, 0, 0))
    for name in words:
        table.add_column(name, no_wrap=True, max_width=24)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _scheme(provider: str) -> str:
    """Return `"triton"` for a server's address: the whole of it is in the JSON."""
    return provider.partition("://")[0]


def _ms(value: float) -> str:
    """Return milliseconds with the digits that can be told apart."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _latency(results: list[dict[str, Any]]) -> Titled:
    table = _table(
        ["model", "provider"],
        ["batch", "p50", "p95", "p99", "cpu", "images/s", "ratio"],
    )
    for result in results:
        times = [_ms(result[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "cpu_ms")]
        table.add_row(
            result["model"],
            _scheme(result["provider"]),
            str(result["batch"]),
            *times,
            f"{result['images_per_second']:.1f}",
            "-" if result["ratio"] is None else f"{result['ratio']:.2f}",
        )
    return "The model alone: milliseconds a call; cpu is processor time, all threads", table


def _resources(results: list[dict[str, Any]]) -> Titled:
    table = _table(
        ["model", "provider"],
        ["batch", "MB", "open s", "first ms", "peak MB", "added", "cosine"],
    )
    for result in results:
        cosine = result["least_cosine"]
        table.add_row(
            result["model"],
            _scheme(result["provider"]),
            str(result["batch"]),
            "-" if result["model_mb"] is None else f"{result['model_mb']:.1f}",
            f"{result['open_s']:.2f}",
            _ms(result["first_call_ms"]),
            f"{result['peak_mb']:.0f}",
            f"{result['added_mb']:.0f}",
            "-" if cosine is None else f"{cosine:.5f}",
        )
    return "Opening and memory (the peak of its own process, and what the model added)", table


def _parts(results: list[dict[str, Any]], settings: dict[str, Any]) -> Titled:
    width, height = settings["frame"]
    table = _table(
        ["model", "provider"],
        ["batch", *PARTS, "sum", "model"],
    )
    for result in results:
        parts = result["per_image_ms"]
        table.add_row(
            result["model"],
            _scheme(result["provider"]),
            str(result["batch"]),
            *(_ms(parts[part]) for part in PARTS),
            _ms(sum(parts.values())),
            f"{100 * result['share']['embed']:.1f} %",
        )
    return (
        f"From frame to verdict: milliseconds an image ({width}x{height} frames, "
        f"{settings['products']} products)",
        table,
    )


def _cold_start(starts: list[dict[str, Any]]) -> Titled:
    table = _table(
        ["model", "provider"],
        [*STEPS, "total", "best", "worst", "cpu"],
    )
    for start in starts:
        seconds = start["seconds"]
        slow = seconds["total"] > COLD_START_TARGET
        table.add_row(
            start["model"],
            _scheme(start["provider"]),
            *(f"{seconds[name]:.2f}" for name in STEPS),
            Text(f"{seconds['total']:.2f}", style="yellow" if slow else "green"),
            f"{seconds['best']:.2f}",
            f"{seconds['worst']:.2f}",
            f"{seconds['cpu']:.2f}",
        )
    return "Cold start: seconds from a new process to its first verdict", table
