"""`vision-edge register`: a product from one snapshot or more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vision_edge.runtime.bundle import load_bundle
from vision_edge.runtime.cli import command_app
from vision_edge.runtime.cli.options import Author, BundlePath, GalleryPath, Provider
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery import Gallery, checked_label
from vision_edge.runtime.pipeline import snapshots_of, take_frame
from vision_edge.runtime.session import open_session
from vision_edge.runtime.sources import Frame, images_below, open_source

app = command_app()


@app.command()
def register(
    bundle: BundlePath,
    label: Annotated[str, typer.Argument(help="The product's name.")],
    gallery: GalleryPath,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Snapshots: image files, or folders of them.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Take one frame of this camera or video.")
    ] = None,
    provider: Provider = "auto",
    author: Author = None,
) -> None:
    """Register a product from one snapshot, or add snapshots to it.

    All images are registered, or, if one of them is unreadable or refused, none.
    """
    label = checked_label(label)
    session = open_session(load_bundle(bundle), provider)
    frames = _frames(images or [], source)
    snapshots = snapshots_of(session, frames)  # before a gallery is made: they may be unreadable
    with Gallery(gallery, session.bundle.manifest.identity, create=True, author=author) as opened:
        version = opened.add(label, snapshots)
        count = len(opened.state()[label])
    for note in session.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"registered {len(frames)} snapshot(s) of {label!r} ({count} in all) in {gallery}, "
        f"version {version}, with {session.name}"
    )


def _frames(images: list[Path], source: str | None) -> list[Path | Frame]:
    """Return what is to be registered: files, or one frame of a source."""
    if bool(images) == (source is not None):
        raise VisionEdgeError(
            "nothing to register" if not images else "both images and --source were given",
            fix="give image files, or --source with a camera",
        )
    if source is None:
        expanded = [images_below(path) if path.is_dir() else [path] for path in images]
        return [path for paths in expanded for path in paths]
    opened = open_source(source)
    try:
        return [take_frame(opened)]
    finally:
        opened.close()
