"""`vision-edge verify`: who has signed a bundle or an archive, and does it count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.grouped_command import command
from vision_edge.cli.provenance_options import Trust, told
from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.checking import Provenance, Signed
from vision_edge.runtime.provenance.taken import Taken
from vision_edge.runtime.provenance.trust import TrustStore

app = command_app()


@command(app)
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A bundle's folder, its zip, or an archive.")
    ],
    trust: Trust,
    taken: Annotated[
        Path | None,
        typer.Option(
            "--taken", help="What a device has taken: its taken.json. Older ones are then refused."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a sentence.")
    ] = False,
) -> None:
    """Verify a bundle or an archive: signed by a key that is trusted and counts, and unchanged.

    The status is 1 if it is not. A file of records: `vision-edge records verify`.
    """
    if not path.exists():
        raise ProvenanceError(f"{path}: there is no bundle and no archive", fix="check the path")
    provenance = Provenance(TrustStore(trust), None if taken is None else Taken(taken))
    signed = _checked(path, provenance)
    if as_json:
        typer.echo(json.dumps(_document(signed), ensure_ascii=False, indent=1))
        return
    typer.echo(f"{path}: {told(signed)}; {len(signed.statement.subject)} file(s), none changed")


def _checked(path: Path, provenance: Provenance) -> Signed:
    from vision_edge.runtime.bundles.bundle import load_bundle

    if path.is_dir():
        signed = load_bundle(path, provenance).signed
        assert signed is not None
        return signed
    kind = provenance.kind_of(path)
    with path.open("rb") as stream:
        return provenance.file(path, kind, stream)


def _document(signed: Signed) -> dict[str, object]:
    return {
        **signed.artifact.model_dump(mode="json", by_alias=True),
        "keyid": signed.key.keyid,
        "key": signed.key.name,
        "files": signed.statement.files,
        "notes": signed.notes,
    }
