"""What `build` says of a hub on the terminal."""

from __future__ import annotations

from typing import Any

import typer


def summarise_hub(report: dict[str, Any]) -> None:
    """Say what is worth knowing about a hub's adapters, on stderr."""
    adapters = report["adapters"]
    for name, reason in report["skipped"].items():
        typer.secho(f"left out {name}: {reason}", err=True, fg=typer.colors.YELLOW)
    for note in sorted({note for fact in adapters for note in fact["notes"]}):
        typer.echo(f"note: {note}", err=True)
    outliers = [fact["name"] for fact in adapters if fact["outlier"]]
    if outliers:
        typer.echo(f"note: hardly agree with the rest: {', '.join(outliers)}", err=True)
    unverified = sum(not fact["base_verified"] for fact in adapters)
    if unverified:
        typer.echo(
            f"note: {unverified} adapter(s) carry no backbone hash; only names and shapes were "
            "checked",
            err=True,
        )
