"""`vision-edge doctor`: is this machine fit, and what to do if not."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Only, present
from vision_edge.cli.grouped_command import command
from vision_edge.doctor.examine import examine
from vision_edge.doctor.finding import Finding, is_usable
from vision_edge.doctor.system import own_version

app = command_app()
_MARKS = {
    "ok": ("ok", "green"),
    "info": ("-", "dim"),
    "warning": ("warn", "yellow"),
    "error": ("BAD", "bold red"),
}


@command(app)
def doctor(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="A bundle to verify, and to run on a picture."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="A gallery to verify, with BUNDLE if given.")
    ] = None,
    provider: Annotated[
        str,
        typer.Option("--provider", help="What BUNDLE is run on."),
        Only(present("bundle", "BUNDLE")),
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs and for support.")
    ] = False,
) -> None:
    """Look at the machine: is it fit for vision-edge, and if not, what to do?

    The status is 0 if nothing essential is broken, else 1. Nothing is changed.
    """
    with Console(stderr=True).status("looking around"):
        findings = examine() + _inputs(bundle, gallery, provider)
    if as_json:
        typer.echo(json.dumps(_document(findings), indent=2, ensure_ascii=False))
    else:
        _show(findings, Console())
    if not is_usable(findings):
        raise typer.Exit(1)


def _inputs(bundle: Path | None, gallery: Path | None, provider: str) -> list[Finding]:
    """Verify what was named; needs NumPy, whose absence the probes have reported by now."""
    if bundle is None and gallery is None:
        return []
    try:
        from vision_edge.doctor.inputs import check_bundle, check_gallery
    except ImportError as error:
        fix = 'pip install --force-reinstall "numpy>=1.26"'
        return [Finding("bundle", str(bundle), f"cannot be read: {error}", "error", fix)]
    findings, loaded = check_bundle(bundle, provider) if bundle else ([], None)
    return findings + (check_gallery(gallery, loaded) if gallery else [])


def _document(findings: list[Finding]) -> dict[str, object]:
    return {
        "usable": is_usable(findings),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "vision_edge": own_version(),
        "findings": [finding.to_dict() for finding in findings],
    }


def _show(findings: list[Finding], console: Console) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for area, group in groupby(findings, key=lambda finding: finding.area):
        table.add_row("", Text(area, style="bold"), "")
        for finding in group:
            mark, style = _MARKS[finding.state]
            table.add_row(Text(mark, style=style), Text(f"  {finding.name}"), Text(finding.value))
    console.print(table)
    _show_fixes(findings, console)


def _show_fixes(findings: list[Finding], console: Console) -> None:
    """Print what to do: what must be done first, then what may."""
    groups = {
        "error": "Must be put right",
        "warning": "Should be put right",
        "info": "Only if you need it",
    }
    for state, title in groups.items():
        chosen = [finding for finding in findings if finding.state == state and finding.fix]
        if chosen:
            console.print(Text(f"\n{title}", style=_MARKS[state][1]))
        for fix in dict.fromkeys(str(finding.fix) for finding in chosen):
            names = [f"{f.area}, {f.name}" for f in chosen if f.fix == fix]
            console.print(Text(f"  {'; '.join(names)}"))
            console.print(Text(f"      {fix}"), soft_wrap=True)
    usable = is_usable(findings)
    console.print()
    verdict = "usable" if usable else "not usable: something essential is broken"
    console.print(Text(f"This machine is {verdict}.", style="green" if usable else "bold red"))
