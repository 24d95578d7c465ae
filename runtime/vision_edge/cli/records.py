"""`vision-edge records`: are a station's signed records as it wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.grouped_command import command
from vision_edge.cli.provenance_options import Trust
from vision_edge.runtime.provenance.record_check import RecordsFound, check_folder, check_records
from vision_edge.runtime.provenance.trust import TrustStore

app = command_app("Check the signed records that a station has written.", group=True)


@app.callback()
def _group() -> None:
    """Check the signed records that a station has written."""


@command(app)
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file of records, or a folder of them.")
    ],
    trust: Trust,
    unsealed: Annotated[
        bool,
        typer.Option("--unsealed", help="The last file may be unsealed: it is still written."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Verify records: no line changed, missing, put in or moved, and sealed by a trusted key.

    Of a folder, also that no file is missing between two others. The status is 1 if something is
    wrong; the first line that is wrong is named.
    """
    store = TrustStore(trust)
    found = check_folder(path, store) if path.is_dir() else [check_records(path, store)]
    open_end = unsealed and found[-1].unsealed
    if as_json:
        typer.echo(json.dumps([_document(one) for one in found], ensure_ascii=False, indent=1))
    else:
        typer.echo("\n".join(_line(one, open_end and one is found[-1]) for one in found))
    if unsealed and not open_end:
        typer.echo("note: nothing is unsealed but whole here, so that --unsealed changes nothing")
    if not all(one.sound for one in (found[:-1] if open_end else found)):
        raise typer.Exit(1)


def _line(found: RecordsFound, still_written: bool) -> str:
    if still_written:
        return f"{found.path}: whole so far, and {found.problem}"
    if found.problem:
        at = "" if found.line is None else f"line {found.line}: "
        return f"{found.path}: NOT SOUND: {at}{found.problem}"
    assert found.sealed is not None
    assert found.key is not None
    seal = found.sealed
    lost = sum(found.not_written.values())
    return (
        f"{found.path}: sound: file {seal.number} of {seal.station}, {seal.lines} lines "
        f"({found.kinds['verdict']} verdicts, {found.kinds['deed']} deeds), "
        f"{seal.first.isoformat()} to {seal.last.isoformat()}, sealed ({seal.reason}) by "
        f"{found.key.title}" + (f"; it says that {lost} were not written" if lost else "")
    )


def _document(found: RecordsFound) -> dict[str, Any]:
    seal = found.sealed
    return {
        "path": str(found.path),
        "sound": found.sound,
        "unsealed": found.unsealed,
        "problem": found.problem or None,
        "line": found.line,
        "lines": found.lines,
        "kinds": dict(found.kinds),
        "not_written": dict(found.not_written),
        "seal": None if seal is None else seal.model_dump(mode="json", by_alias=True),
        "keyid": None if found.key is None else found.key.keyid,
    }
