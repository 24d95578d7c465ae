"""`vision-edge keys`: make keys, and say which are trusted, for what and how long."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Mode, Only, present
from vision_edge.cli.grouped_command import command
from vision_edge.cli.provenance_options import (
    KeyPath,
    PassphraseFile,
    Store,
    passphrase,
    private_key,
)
from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.keys import PrivateKey, PublicKey, write_new
from vision_edge.runtime.provenance.signing import endorse as endorsed
from vision_edge.runtime.provenance.statement import PURPOSES, Purpose, utc_now
from vision_edge.runtime.provenance.trust import DAYS, MAX_DAYS, TrustedKey, TrustStore

app = command_app("Make keys, and say which are trusted, for what and how long.", group=True)
MAX_FILE = 1 << 16

Days = Annotated[
    int | None,
    typer.Option("--days", min=1, max=MAX_DAYS, help=f"How long it counts; default: {DAYS}."),
]
For = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        help="What it may sign: bundle, gallery, records, line; repeatable. Default: both first.",
    ),
]
Called = Annotated[str | None, typer.Option("--name", help="Its name; default: the file's.")]
PublicPath = Annotated[Path, typer.Argument(metavar="KEY.pub", help="The public key.")]
KeyName = Annotated[
    str, typer.Argument(metavar="KEY", help="Its name, or the beginning of its id.")
]
BARE_KEY = Mode(
    "a public key, not an endorsement, which says it itself",
    lambda values: not str(values["key"]).endswith(".json"),
    "leave it to `keys endorse`",
)


@command(app)
def new(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="Writes NAME.key (private) and NAME.pub.")
    ],
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt the private key with a passphrase.")
    ] = False,
    passphrase_file: Annotated[PassphraseFile, Only(present("encrypt"))] = None,
) -> None:
    """Make an Ed25519 key: NAME.key for the one who signs, NAME.pub for all who check."""
    private, public = (name.with_name(f"{name.name}.{suffix}") for suffix in ("key", "pub"))
    secret = passphrase(passphrase_file, twice=True) if encrypt else None
    if encrypt and secret is None:
        raise ProvenanceError(
            "--encrypt: nobody is there to be asked for a passphrase",
            fix="give --passphrase-file FILE",
        )
    if public.exists():
        raise ProvenanceError(f"{public} exists already", fix="give a new name")
    key = PrivateKey.new()
    key.write(private, secret)
    write_new(public, key.public.to_pem().encode(), 0o644)
    typer.echo(f"{private}: the private key, for you alone: never copy it to a device")
    typer.echo(f"{public}: the public key {key.keyid}")


@command(app)
def show(
    key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="The public key.")],
) -> None:
    """Print a public key's id."""
    typer.echo(PublicKey.from_file(key).keyid)


@command(app)
def trust(
    key: Annotated[
        Path,
        typer.Argument(metavar="KEY.pub", help="The public key, or an endorsement of one (.json)."),
    ],
    store: Store,
    name: Annotated[Called, Only(BARE_KEY)] = None,
    days: Annotated[Days, Only(BARE_KEY)] = None,
    purposes: Annotated[For, Only(BARE_KEY)] = None,
) -> None:
    """Trust a key: one that you know is right, or one that a trusted key vouches for."""
    if key.suffix == ".json":
        envelope = Envelope.from_bytes(_bytes(key), str(key))
        added = TrustStore(store).take_endorsed(envelope, str(key), utc_now())
    else:
        public = PublicKey.from_file(key)
        end = utc_now() + timedelta(days=days or DAYS)
        added = TrustStore(store, create=True).trust(
            public, name or key.stem, not_after=end, purposes=_purposes(purposes)
        )
    typer.echo(_line(added))


@command(app)
def endorse(
    key: PublicPath,
    by: KeyPath,
    out: Annotated[Path, typer.Option("--out", help="The endorsement to write, a .json file.")],
    name: Called = None,
    days: Days = None,
    purposes: For = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="The older key counts no longer for what is new.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Vouch for a new key with an older one, so that whoever trusts that one takes the new.

    `vision-edge keys trust OUT --store STORE` takes it: rotation without a walk to every device.
    """
    if out.suffix != ".json":
        raise ProvenanceError(f"--out {out}: not a .json file", fix="call it NAME.json")
    public, older = PublicKey.from_file(key), private_key(by, passphrase_file)
    now = utc_now()
    envelope = endorsed(
        public, name or key.stem, older, not_before=now,
        not_after=now + timedelta(days=days or DAYS), purposes=_purposes(purposes),
        replaces=replace,
    )  # fmt: skip
    write_new(out, envelope.to_bytes(), 0o644)
    typer.echo(f"{out}: {older.keyid[:16]} vouches for {public.keyid[:16]}")


@command(app)
def revoke(
    key: KeyName,
    store: Store,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")] = "",
) -> None:
    """Revoke a key for good: nothing that it ever signed counts here."""
    typer.echo(_line(TrustStore(store).revoke(key, reason)))


@command(app, "list")
def list_keys(
    store: Store,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the keys of a trust store, and whether they count now."""
    keys = TrustStore(store).keys()
    if as_json:
        documents = [{**key.model_dump(mode="json"), "counts": _state(key)} for key in keys]
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
        return
    typer.echo(f"{store}: {len(keys)} key(s)")
    for key in keys:
        typer.echo("  " + _line(key))


def _purposes(words: list[str] | None) -> tuple[Purpose, ...]:
    if not words:
        return ("bundle", "gallery")
    unknown = [word for word in words if word not in PURPOSES]
    if unknown:
        raise ProvenanceError(
            f"--for {unknown[0]!r} is unknown", fix=f"use one of {', '.join(PURPOSES)}"
        )
    return tuple(purpose for purpose in PURPOSES if purpose in words)


def _line(key: TrustedKey) -> str:
    return f"{key.keyid[:16]}  {key.name}  {', '.join(key.purposes)}  {_state(key)}"


def _state(key: TrustedKey) -> str:
    now = datetime.now(timezone.utc)
    never = key.never(key.purposes[0]) or key.not_now(now)
    return never or f"counts until {key.not_after.date().isoformat()}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()[: MAX_FILE + 1]
    except OSError as error:
        raise ProvenanceError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
