"""What `build` says of a hub on the terminal."""

from __future__ import annotations

from typing import Any

import typer


def summarise_hub(report: dict[str, Any]) -> None:
    """Say what is worth knowing about a hub's adapters, on stderr."""
    adapters = report["adapters"]
    for name, reason in report["skipped"].items():
        typer.secho(f"left out {name}: {reason}", err=True, fg=typer.colors.YELLOW)
    for note in report.get("hub_notes", ()):
        typer.echo(f"note: {note}", err=True)
    for note, names in _by_note(adapters).items():
        typer.echo(f"note: {_listed(names)}: {note}", err=True)
    for text in report["counsel"]:
        typer.echo(f"note: {text}", err=True)
    for table in report.get("evaluations", ()):
        typer.echo(_scores(table), err=True)
    for text in report["warnings"]:
        typer.secho(f"WARNING: {text}", err=True, fg=typer.colors.RED, bold=True)


def _scores(table: dict[str, Any]) -> str:
    """Return what an evaluation found, in a line."""
    found = ", ".join(
        f"{result['name']} {result['accuracy']:.1f} ± {result['ci95']:.1f} %"
        for result in table["results"]
    )
    return f"{table['data']}, {table['way']}-way {table['shot']}-shot: {found}"


def _by_note(adapters: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return by note the adapters that it is about."""
    grouped: dict[str, list[str]] = {}
    for fact in adapters:
        for note in fact["notes"]:
            grouped.setdefault(note, []).append(fact["name"])
    return grouped


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
