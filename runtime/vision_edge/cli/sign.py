"""`vision-edge sign`: sign a bundle, a gallery's archive, or a bundle's zip."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Mode, Only
from vision_edge.cli.grouped_command import command
from vision_edge.cli.provenance_options import (
    KeyPath,
    PassphraseFile,
    private_key,
    said,
    signable,
)
from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.names import SIGNATURE_FILE
from vision_edge.runtime.provenance.signing import (
    files_in,
    sign_file,
    sign_folder,
    signature_of,
)
from vision_edge.runtime.provenance.statement import Artifact
from vision_edge.runtime.system.files import atomic_file

app = command_app()
FOLDER = Mode("a bundle's folder", lambda values: Path(values["path"]).is_dir())


@command(app)
def sign(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A bundle's folder, or a gallery's archive.")
    ],
    key: KeyPath,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of which there are newer and older ones; default: its own."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=0, help="Must rise; default: now, in milliseconds."),
    ] = None,
    zip_to: Annotated[
        Path | None,
        typer.Option(
            "--zip", metavar="OUT.zip", help="Also pack it for `vision-edge update`, signed too."
        ),
        Only(FOLDER),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a bundle or a gallery's archive: every file of it, so that nobody can change one.

    What is not sound is not signed. The signature of a folder lies in it, as signature.dsse.json;
    that of an archive beside it, as ARCHIVE.dsse.json.
    """
    if zip_to is not None and zip_to.exists():
        raise ProvenanceError(f"--zip {zip_to} exists already", fix="give a new name")
    loaded = private_key(key, passphrase_file)
    if not path.is_dir():
        typer.echo(said(_sign_archive(path, loaded, name, version), signature_of(path)))
        return
    artifact = sign_bundle(path, loaded, name, version)
    typer.echo(said(artifact, signature_of(path)))
    if zip_to is not None:
        _pack(path, zip_to)
        sign_file(zip_to, "bundle", loaded, artifact.name, artifact.version)
        typer.echo(f"{zip_to}, {zip_to}.sha256 and {signature_of(zip_to)}")


def sign_bundle(
    path: Path, key: PrivateKey, name: str | None = None, version: int | None = None
) -> Artifact:
    """Sign a bundle's folder once it is found to be sound.

    Raises:
        VisionEdgeError: If it is not, or cannot be signed.
    """
    from vision_edge.runtime.bundles.bundle import load_bundle

    bundle = load_bundle(path)
    called = signable(bundle.manifest.name) if name is None else name
    return sign_folder(path, "bundle", key, called, version)


def _sign_archive(path: Path, key: PrivateKey, name: str | None, version: int | None) -> Artifact:
    from vision_edge.runtime.gallery.archive import open_archive

    with open_archive(path):
        called = signable(path.stem) if name is None else name
        return sign_file(path, "gallery", key, called, version)


def _pack(folder: Path, path: Path) -> None:
    """Zip a bundle's files, and write the hash beside, as `vision-edge update` asks for it."""
    names = [name for name in (*files_in(folder), SIGNATURE_FILE) if "/" not in name]
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for name in names:
            file.write(folder / name, name, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with atomic_file(path.with_name(path.name + ".sha256")) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n")
