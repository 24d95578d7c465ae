"""`vision-edge gallery`: look at registered products, change them, and go back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.runtime.cli import command_app
from vision_edge.runtime.cli.options import Author, BundlePath, GalleryPath, Provider
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery import Gallery
from vision_edge.runtime.registration import odd_ones

app = command_app("Look at registered products, change them, and go back.", group=True)

Label = Annotated[str, typer.Argument(help="The product's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_products(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """List the products and how many snapshots each has."""
    with Gallery(gallery) as opened:
        state, version, model = opened.state(), opened.version, opened.model
    products = {label: len(ids) for label, ids in state.items()}
    if as_json:
        document = {"version": version, "fingerprint": model.fingerprint, "products": products}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{gallery}: {len(products)} product(s), version {version}")
    for label, count in products.items():
        typer.echo(f"  {count:4d}  {label}")


@app.command()
def show(
    label: Label,
    gallery: GalleryPath,
    out: Annotated[Path, typer.Option("--out", help="Folder for the snapshots.")],
) -> None:
    """Write a product's snapshots to a folder as JPEG files."""
    with Gallery(gallery) as opened:
        snapshots = opened.state().get(label)
        if snapshots is None:
            raise GalleryError(
                f"{gallery}: there is no product {label!r}", fix="see `vision-edge gallery list`"
            )
        odd = odd_ones(opened)
        out.mkdir(parents=True, exist_ok=True)
        for identifier in snapshots:
            path = out / f"snapshot-{identifier}.jpg"
            path.write_bytes(opened.snapshots.jpeg(identifier))
            far = odd.get(identifier)
            note = "" if far is None else f"  unlike the others, {far:.1f} times as far off"
            typer.echo(f"{path}{note}")


@app.command()
def drop(
    snapshot: Annotated[int, typer.Argument(help="The snapshot's number, as `show` names it.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Take one snapshot out of its product, or a negative away; `rollback` brings it back."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"dropped snapshot {snapshot}; version {opened.drop(snapshot)}")


@app.command()
def remove(label: Label, gallery: GalleryPath, author: Author = None) -> None:
    """Remove a product; its history stays, and `rollback` brings it back."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"removed {label!r}; version {opened.remove(label)}")


@app.command()
def rename(
    label: Label,
    new: Annotated[str, typer.Argument(help="The new name.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Rename a product."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"renamed {label!r} to {new!r}; version {opened.rename(label, new)}")


@app.command()
def history(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """List every change: version, time, author, what."""
    with Gallery(gallery) as opened:
        events = opened.events()
    if as_json:
        typer.echo(json.dumps([vars(event) for event in events], ensure_ascii=False, indent=2))
        return
    for event in events:
        what = " ".join(str(part) for part in (event.label, event.argument) if part is not None)
        typer.echo(f"{event.version:5d}  {event.time}  {event.author}  {event.kind}  {what}")


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(min=0, help="The version to return to.")],
    gallery: GalleryPath,
    author: Author = None,
) -> None:
    """Return to the products of an earlier version; this too is a new version."""
    with Gallery(gallery, author=author) as opened:
        typer.echo(f"back to version {version}, as version {opened.rollback(version)}")


@app.command()
def reembed(
    bundle: BundlePath, gallery: GalleryPath, provider: Provider = "auto", author: Author = None
) -> None:
    """Bind the gallery to another bundle: embed every snapshot again."""
    from vision_edge.runtime.augment import embed_snapshot
    from vision_edge.runtime.bundle import load_bundle
    from vision_edge.runtime.session import open_session

    session = open_session(load_bundle(bundle), provider)
    with Gallery(gallery, author=author) as opened:
        version = opened.reembed(
            session.bundle.manifest.identity, lambda image: embed_snapshot(session, image)
        )
    typer.echo(f"{gallery} now belongs to {bundle}; version {version}")
