"""What `build` writes of itself: the report, and where the meta-LoRA comes from."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    pass


REPORT_FILE = "report.json"


def origin(hub: Path, seed: int, started: float) -> dict[str, Any]:
    """Return what every report says: when, from which hub, and how long it took."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hub": hub.name,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 3),
    }


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write `report.json` into a folder that is being made."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


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
