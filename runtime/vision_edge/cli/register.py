"""`vision-edge register`: a product from one snapshot or more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, live, modes, takes_precision_hint
from vision_edge.cli.options import (
    Author,
    Backend,
    Background,
    Bits,
    BundlePath,
    CameraOptions,
    Empty,
    Exposure,
    Flip,
    GalleryPath,
    PrecisionHint,
    Provider,
    Roi,
    Rotate,
    presence_of,
    reading_of,
    session_options,
)
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.burst import Burst, take_burst, worth_keeping
from vision_edge.runtime.pipeline.gallery_classifier import as_compared, classifier_for
from vision_edge.runtime.pipeline.registration import (
    Picture,
    read_catalogue_picture,
    read_picture,
    refuse,
    resemblance,
    snapshot_from,
    take_frame,
)
from vision_edge.runtime.sources.files import images_in
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source
from vision_edge.runtime.sources.view import View, ViewedSource

app = command_app()
ANY = "*"
GIVE_UP_AFTER = 15.0


@app.command()
@modes(
    Only(
        "--source",
        lambda o: o["source"] is not None,
        "shots",
        "burst",
        "wait_key",
        "rotate",
        "flip",
        "roi",
    ),
    Only("image files", lambda o: o["source"] is None, "bits", "background", "catalogue"),
    Only("a register without --burst", lambda o: o["burst"] is None, "shots"),
    Only("a register without --catalogue", lambda o: not o["catalogue"], "empty", "negative"),
    Only("a --source that is a camera or stream", live(), "exposure", "backend"),
    Only("--provider openvino or cuda", takes_precision_hint, "precision_hint"),
)
def register(
    bundle: BundlePath,
    label: Annotated[str, typer.Argument(help="The product's name.")],
    gallery: GalleryPath,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Snapshots: image files, or folders of them.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Take frames of this camera or video.")
    ] = None,
    shots: Annotated[int, typer.Option("--shots", min=1, help="With --source: how many.")] = 1,
    burst: Annotated[
        float | None,
        typer.Option("--burst", help="With --source: turn the part for so many seconds."),
    ] = None,
    wait_key: Annotated[
        bool, typer.Option("--wait-key", help="With --source: press Enter for each snapshot.")
    ] = False,
    catalogue: Annotated[
        bool,
        typer.Option("--catalogue", help="Catalogue pictures: the product alone, on white."),
    ] = False,
    negative: Annotated[
        bool,
        typer.Option("--negative", help='This is NOT that product ("*": no product at all).'),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Register in spite of what the checks find.")
    ] = False,
    empty: Empty = None,
    rotate: Rotate = 0,
    flip: Flip = "none",
    roi: Roi = None,
    exposure: Exposure = None,
    backend: Backend = "auto",
    bits: Bits = None,
    background: Background = "#ffffff",
    provider: Provider = "auto",
    precision_hint: PrecisionHint = "f32",
    author: Author = None,
) -> None:
    """Register a product from one snapshot, or add snapshots to it.

    All images are registered, or, if one of them is unreadable or refused, none. A picture that is
    dark, blurred, cut off, or like another product is refused with the reason. A catalogue picture
    counts as one snapshot, in the views that bring it nearest to the camera's.
    """
    anything = negative and label == ANY
    label = label if anything else checked_label(label)
    camera = CameraOptions(rotate, flip, roi, exposure, backend)
    settings = session_options(precision_hint, cuda_graph=False)
    session = open_session(load_bundle(bundle), provider, options=settings)
    reading = reading_of(bits, background)
    presence = presence_of(empty, camera.view, reading)
    if burst is not None:
        taken = Burst(burst, presence, force)
        _one_of(images or [], source)
        snapshots = worth_keeping(_burst(taken, source or "", camera, wait_key), session)
    else:
        items = _items(images or [], source, camera, shots, wait_key)
        pictures = [
            _read(item, presence, reading, catalogue) for item in _viewed(items, camera.view)
        ]
        if not force:
            refuse([(p.origin, finding) for p in pictures for finding in p.findings])
        snapshots = [snapshot_from(picture, session) for picture in pictures]
    with Gallery(gallery, session.bundle.manifest.identity, create=True, author=author) as opened:
        if negative:
            version = opened.add_negatives(None if anything else label, snapshots)
            said = f"{len(snapshots)} snapshot(s) that are not {label!r}"
        else:
            if not force:
                _refuse_lookalikes(opened, session, label, snapshots)
            version = opened.add(label, snapshots)
            count = len(opened.state()[label])
            said = f"{len(snapshots)} snapshot(s) of {label!r} ({count} in all)"
    for note in session.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"registered {said} in {gallery}, version {version}, with {session.name}")


def _read(
    item: Path | Frame, presence: Presence | None, reading: Reading, catalogue: bool
) -> Picture:
    """Read and inspect what is to be registered."""
    if catalogue and isinstance(item, Path):
        return read_catalogue_picture(item, reading)
    return read_picture(item, presence, reading)


def _refuse_lookalikes(
    gallery: Gallery, session: Session, label: str, snapshots: list[Snapshot]
) -> None:
    """Refuse what looks like another product, or unlike its own."""
    classifier = classifier_for(gallery, session) if gallery.contents().products else None
    refuse(
        [
            (snapshot.origin, finding)
            for snapshot in as_compared(gallery, session.bundle, snapshots)
            for finding in resemblance(snapshot, label, classifier)
        ]
    )


def _burst(burst: Burst, source: str, camera: CameraOptions, wait_key: bool) -> list[Picture]:
    """Take a burst: now, or when Enter is pressed."""
    with _opened(source, camera) as opened:
        after = _pressed(opened, wait_key)
        viewed = opened if camera.view.changes_nothing else ViewedSource(opened, camera.view)
        typer.echo(f"turn the part for {burst.seconds:g} s", err=True)
        return take_burst(viewed, burst, after=after)


def _one_of(images: list[Path], source: str | None) -> None:
    """Refuse nothing, and more than one thing, to register."""
    if bool(images) == (source is not None):
        raise VisionEdgeError(
            "nothing to register" if not images else "both images and --source were given",
            fix="give image files, or --source with a camera",
        )


def _items(
    images: list[Path], source: str | None, camera: CameraOptions, shots: int, wait_key: bool
) -> list[Path | Frame]:
    """Return what is to be registered: files, or frames of a source."""
    _one_of(images, source)
    if source is None:
        expanded = [_in_folder(path) if path.is_dir() else [path] for path in images]
        return [path for paths in expanded for path in paths]
    with _opened(source, camera) as opened:
        return [_shot(opened, number, wait_key) for number in range(shots)]


def _in_folder(folder: Path) -> list[Path]:
    """Return a folder's pictures, and say what was passed over."""
    paths, found = images_in(folder)
    for line in found.lines():
        typer.echo(f"note: {folder}: {line}", err=True)
    return paths


@contextmanager
def _opened(spec: str, camera: CameraOptions) -> Iterator[Source]:
    """Open the camera, and give up on it soon: someone waits."""
    settings = LiveSettings(give_up_after=GIVE_UP_AFTER, grabber=camera.grabber)
    opened = open_source(spec, live=settings)
    try:
        yield opened
    finally:
        opened.close()


def _shot(source: Source, number: int, wait_key: bool) -> Frame:
    """Take one frame: now, or when Enter is pressed; later ones need no settling."""
    after = _pressed(source, wait_key)
    return take_frame(source, settle=0 if number else 5, after=after)


def _pressed(source: Source, wait_key: bool) -> float:
    """Wait for Enter, if that is asked for; return from when on frames count."""
    if wait_key:
        typer.prompt("Show the part, then press Enter", default="", show_default=False, err=True)
    return time.monotonic() if source.live and wait_key else 0.0


def _viewed(items: list[Path | Frame], view: View) -> list[Path | Frame]:
    """Turn, mirror and cut frames; files show what they are to show."""
    if view.changes_nothing:
        return items
    return [item if isinstance(item, Path) else _changed(item, view) for item in items]


def _changed(frame: Frame, view: View) -> Frame:
    return Frame(view.apply(frame.image), frame.source, frame.number, frame.captured)
