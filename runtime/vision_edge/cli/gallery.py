"""`vision-edge gallery`: look at registered products, change them, and go back."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Only, present
from vision_edge.cli.grouped_command import command
from vision_edge.cli.options import Author, BundlePath, GalleryPath, Provider, far
from vision_edge.cli.provenance_options import (
    TRUSTING,
    PassphraseFile,
    SignWith,
    Trusting,
    private_key,
    said,
    signable,
    taken,
    tell,
)
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.archive_import import OnConflict
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.labels import one_form
from vision_edge.runtime.gallery.outliers import odd_ones
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.pipeline.gallery_classifier import checked_gallery

if TYPE_CHECKING:
    from vision_edge.runtime.gallery.archive_import import Reembedding
    from vision_edge.runtime.provenance.checking import Provenance

app = command_app("Look at registered products, change them, and go back.", group=True)

Label = Annotated[str, typer.Argument(help="The product's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@command(app, "list")
def list_products(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """List the products and how many snapshots each has."""
    with GalleryReader(gallery) as opened:
        state, version, model = opened.state(), opened.version, opened.model
    products = {label: len(ids) for label, ids in state.items()}
    if as_json:
        document = {"version": version, "fingerprint": model.fingerprint, "products": products}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{gallery}: {len(products)} product(s), version {version}")
    for label, count in products.items():
        typer.echo(f"  {count:4d}  {label}")


@command(app)
def show(
    gallery: GalleryPath,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures.")],
    label: Annotated[
        str | None, typer.Argument(help="The product's name; default: sheets of all.")
    ] = None,
) -> None:
    """Write a product's snapshots and their contact sheet, or contact sheets of all products.

    On a sheet, green frames are snapshots, amber ones are unlike the others of their product, and
    red ones show what the product is not.
    """
    with GalleryReader(gallery) as opened:
        products = opened.state()
        label = None if label is None else one_form(label)
        if label is not None and label not in products:
            raise GalleryError(
                f"{gallery}: there is no product {label!r}", fix="see `vision-edge gallery list`"
            )
        out.mkdir(parents=True, exist_ok=True)
        if label is not None:
            _write_snapshots(opened, products[label], out)
        _write_sheets(opened, None if label is None else [label], out)


def _write_snapshots(opened: GalleryReader, snapshots: list[int], out: Path) -> None:
    odd = odd_ones(opened)
    for identifier in snapshots:
        path = out / f"snapshot-{identifier}.jpg"
        path.write_bytes(opened.snapshots.jpeg(identifier))
        far = odd.get(identifier)
        note = "" if far is None else f"  unlike the others, {far:.1f} times as far off"
        typer.echo(f"{path}{note}")


def _write_sheets(opened: GalleryReader, labels: list[str] | None, out: Path) -> None:
    from vision_edge.runtime.gallery.sheet import gallery_sheets

    for number, sheet in enumerate(gallery_sheets(opened, labels), start=1):
        path = out / ("contact-sheet.jpg" if number == 1 else f"contact-sheet-{number}.jpg")
        path.write_bytes(encode_jpeg(sheet))
        typer.echo(str(path))


@command(app)
def check(
    bundle: BundlePath,
    gallery: GalleryPath,
    acceptance: Annotated[Given[Any], Group(checked_gallery, far())],
    trusting: Annotated[Trusting, TRUSTING],
    as_json: AsJson = False,
) -> None:
    """Tell how good the gallery is: each snapshot left out once and judged by the others.

    Which products will be taken for one another, which snapshot is odd or bears a wrong label, and
    what share of parts will be named. The status is 1 if a label looks wrong.
    """
    from vision_edge.cli.gallery_check import lines
    from vision_edge.runtime.bundles.bundle import load_bundle
    from vision_edge.runtime.recognition.gallery_check import check_document

    loaded = load_bundle(bundle, trusting.provenance(gallery, held=1))
    tell(loaded.signed)
    with Gallery(gallery, loaded.manifest.identity) as opened, opened.reading():
        state, found = opened.state(), checked_gallery(opened, loaded, **acceptance.values)
    if as_json:
        typer.echo(json.dumps(check_document(found, state), ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(lines(found, state)))
    if any(one.mislabelled for one in found.snapshots):
        raise typer.Exit(1)


@command(app)
def drop(
    snapshot: Annotated[int, typer.Argument(help="The snapshot's number, as `show` names it.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Take one snapshot out of its product, or a negative away; `rollback` brings it back."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"dropped snapshot {snapshot}; version {opened.drop(snapshot)}")


@command(app)
def remove(label: Label, gallery: GalleryPath, author: Author = None) -> None:
    """Remove a product; its history stays, and `rollback` brings it back."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"removed {label!r}; version {opened.remove(label)}")


@command(app)
def rename(
    label: Label,
    new: Annotated[str, typer.Argument(help="The new name.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Rename a product."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"renamed {label!r} to {new!r}; version {opened.rename(label, new)}")


@command(app)
def cohort(
    gallery: GalleryPath,
    clear: Annotated[
        bool, typer.Option("--clear", help="Forget them all: after a move, another light or line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what the station's camera saw: how many frames are kept to tell what is unknown.

    They are embeddings, no pictures. `run` and the station collect them.
    """
    from vision_edge.cli.gallery_cohort import document, lines

    forgotten = 0
    if clear:
        with Gallery(gallery) as opened:
            forgotten = opened.forget_frames()
    with GalleryReader(gallery) as opened:
        kept = opened.frames.kept(opened.model)
    if as_json:
        typer.echo(json.dumps(document(kept, forgotten), indent=2))
        return
    typer.echo("\n".join(lines(str(gallery), kept, forgotten)))


@command(app)
def history(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """List every change: version, time, author, what."""
    with GalleryReader(gallery) as opened:
        events = opened.events()
    if as_json:
        typer.echo(json.dumps([vars(event) for event in events], ensure_ascii=False, indent=2))
        return
    for event in events:
        what = " ".join(str(part) for part in (event.label, event.argument) if part is not None)
        typer.echo(f"{event.version:5d}  {event.time}  {event.author}  {event.kind}  {what}")


@command(app)
def rollback(
    version: Annotated[int, typer.Argument(min=0, help="The version to return to.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Return to the products of an earlier version; this too is a new version."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"back to version {version}, as version {opened.rollback(version)}")


@command(app)
def reembed(
    bundle: BundlePath,
    gallery: GalleryPath,
    trusting: Annotated[Trusting, TRUSTING],
    provider: Provider = "auto",
    author: Author = None,
) -> None:
    """Bind the gallery to another bundle: embed every snapshot again."""
    anew = _reembedding(bundle, provider, trusting.provenance(gallery, held=1))
    with Gallery(gallery, author=author) as opened:
        version = opened.reembed(anew.model, anew.embed)
    typer.echo(f"{gallery} now belongs to {bundle}; version {version}")


@command(app, "export")
def export_archive(
    gallery: GalleryPath,
    out: Annotated[Path, typer.Option("--out", help="The archive to write; must not exist yet.")],
    sign: SignWith = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What it is signed as; default: the gallery's name."),
        Only(present("sign")),
    ] = None,
    passphrase_file: Annotated[PassphraseFile, Only(present("sign"))] = None,
) -> None:
    """Write products, snapshots and embeddings to one archive, every part of it hashed."""
    from vision_edge.runtime.gallery.archive import write_archive
    from vision_edge.runtime.provenance.signing import sign_file, signature_of
    from vision_edge.runtime.system.files import sha256_file

    key = None if sign is None else private_key(sign, passphrase_file)
    with GalleryReader(gallery) as opened:
        manifest = write_archive(opened, out)
    products, snapshots = len(manifest.products), len(manifest.snapshots)
    typer.echo(f"{out}: {products} product(s), {snapshots} snapshot(s), version {manifest.version}")
    typer.echo(f"SHA-256 {sha256_file(out)}")
    if key is not None:
        artifact = sign_file(out, "gallery", key, name or signable(gallery.stem))
        typer.echo(said(artifact, signature_of(out)))


@command(app, "import")
def import_from(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="File that `gallery export` wrote.")
    ],
    gallery: GalleryPath,
    trusting: Annotated[Trusting, TRUSTING],
    on_conflict: Annotated[
        OnConflict,
        typer.Option(
            "--on-conflict",
            help="Products that exist already: refuse, merge (add snapshots) or replace.",
        ),
    ] = "refuse",
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Embed the snapshots anew: for another bundle's archive."),
    ] = None,
    provider: Annotated[Provider, Only(present("bundle"))] = "auto",
    author: Author = None,
) -> None:
    """Take an archive's products into a gallery: all of it, or nothing; `rollback` undoes it."""
    from vision_edge.runtime.gallery.archive_import import import_archive

    in_use = trusting.provenance(gallery, held=1)
    anew = None if bundle is None else _reembedding(bundle, provider, in_use)
    provenance = trusting.provenance(gallery)
    done = import_archive(
        archive,
        gallery,
        on_conflict=on_conflict,
        reembedding=anew,
        author=author,
        provenance=provenance,
    )
    taken(provenance, done.signed)
    typer.echo(f"imported {done.snapshots} snapshot(s) into {gallery}; version {done.version}")
    typer.echo(f"to undo it: vision-edge gallery rollback {done.before} --gallery {gallery}")


def _reembedding(bundle: Path, provider: str, provenance: Provenance | None) -> Reembedding:
    from vision_edge.runtime.bundles.bundle import load_bundle
    from vision_edge.runtime.gallery.archive_import import Reembedding
    from vision_edge.runtime.inference.session import open_session
    from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot

    loaded = load_bundle(bundle, provenance)
    session = open_session(loaded, provider)
    taken(provenance, loaded.signed)
    identity = session.bundle.manifest.identity
    return Reembedding(identity, partial(kept_snapshot, session))
