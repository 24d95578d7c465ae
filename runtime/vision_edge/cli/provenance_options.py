"""Options by which commands sign, and by which they ask for a signature."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vision_edge.cli.declarations import Group, Option, present
from vision_edge.runtime.errors import ProvenanceError

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance, Signed
    from vision_edge.runtime.provenance.keys import PrivateKey
    from vision_edge.runtime.provenance.trust import TrustStore

KeyPath = Annotated[
    Path, typer.Option("--key", metavar="KEY", help="Private key, of `vision-edge keys new`.")
]
SignWith = Annotated[
    Path | None,
    typer.Option("--sign", metavar="KEY", help="Sign what is written with this private key."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="File with the key's passphrase alone; default: it is asked for."
    ),
]
Store = Annotated[Path, typer.Option("--store", metavar="STORE", help="The trust store, a folder.")]
Trust = Annotated[
    Path, typer.Option("--trust", metavar="STORE", help="Trust store: whose signatures count.")
]


@dataclass(frozen=True)
class Trusting:
    """Whose signatures a command asks for.

    Attributes:
        store: Whom to trust; None asks for no signature.
        allow_older: Take what is older than what was taken here.
    """

    store: TrustStore | None = None
    allow_older: bool = False

    def provenance(self, gallery: Path, held: int = 0) -> Provenance | None:
        """Return what must hold; what was taken is remembered beside the gallery.

        Args:
            gallery: The gallery's file.
            held: 1 for what may be in use already, and then outlives its key; 0 for what is new.
        """
        if self.store is None:
            return None
        from vision_edge.runtime.provenance.checking import Provenance
        from vision_edge.runtime.provenance.taken import Taken

        memory = Taken(gallery.with_name(f"{gallery.name}.taken.json"))
        return Provenance(self.store, memory, allow_older=self.allow_older, held=held)


TRUSTING = Group(
    Trusting,
    Option(
        "store",
        "--trust",
        Path,
        "Trust store: what is read must be signed by one of its keys.",
        parse=lambda path: _store(path),
        metavar="STORE",
    ),
    Option(
        "allow_older",
        "--allow-older",
        bool,
        "Take what is older than what was taken here before.",
        only=(present("trust"),),
    ),
)


def _store(path: Path) -> TrustStore:
    from vision_edge.runtime.provenance.trust import TrustStore

    return TrustStore(path)


def tell(signed: Signed | None) -> None:
    """Say whose a bundle is that is only looked at, so that it is not taken by that."""
    if signed is not None:
        typer.echo(told(signed), err=True)


def taken(provenance: Provenance | None, signed: Signed | None) -> None:
    """Remember what was taken, and say whose it is."""
    if provenance is None or signed is None:
        return
    provenance.take(signed)
    typer.echo(told(signed), err=True)


def told(signed: Signed) -> str:
    """Say in words who has signed what."""
    artifact = signed.artifact
    lines = [
        f"signed by {signed.key.title}: {artifact.kind} {artifact.name!r}, version "
        f"{artifact.version}, at {artifact.signed_at.isoformat()}"
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in signed.notes)])


def private_key(path: Path, passphrase_file: Path | None) -> PrivateKey:
    """Read a private key; the passphrase of an encrypted one comes from a file, or is asked for.

    Raises:
        ProvenanceError: If it cannot be read, or the passphrase is not the right one.
    """
    from vision_edge.runtime.provenance.keys import PrivateKey, is_encrypted

    encrypted = is_encrypted(path)
    if passphrase_file is not None and not encrypted:
        raise ProvenanceError(
            f"--passphrase-file: {path} is not encrypted, so that it would do nothing",
            fix="leave it out",
        )
    return PrivateKey.from_file(path, passphrase(passphrase_file) if encrypted else None)


def passphrase(path: Path | None, *, twice: bool = False) -> bytes | None:
    """Return a passphrase from a file, or from who sits at the terminal; None if nobody does.

    Raises:
        ProvenanceError: If the file cannot be read, or holds none.
    """
    if path is None:
        if not sys.stdin.isatty():
            return None
        said: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
        return said.encode()
    from vision_edge.runtime.provenance.keys import passphrase_of

    return passphrase_of(path)


def signable(name: str) -> str:
    """Return a name with what no signature's name may hold left out; never empty."""
    kept = re.sub(r"[^\w .:+@-]+", "", name).strip()[:100]
    return kept.lstrip(" .:+@-") or "unnamed"


def said(signed: Any, where: Path) -> str:
    """Say what was just signed, and where the signature lies."""
    return f"signed {signed.name!r}, version {signed.version}: {where}"
