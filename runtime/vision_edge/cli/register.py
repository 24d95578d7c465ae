"""`vision-edge register`: a product from one snapshot or more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Mode, Only, Option, absent, present
from vision_edge.cli.fired_sources import refuse_fired
from vision_edge.cli.grouped_command import command
from vision_edge.cli.locating import REGISTER_DETECTOR, register_locator
from vision_edge.cli.options import (
    GRABBER,
    PRECISION_HINT,
    READING,
    VIEW,
    Author,
    BundlePath,
    GalleryPath,
    Provider,
)
from vision_edge.cli.provenance_options import TRUSTING, Trusting, taken
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.detector import DetectorSettings
from vision_edge.runtime.inference.options import SessionOptions
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
from vision_edge.runtime.sources.grabber import GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source
from vision_edge.runtime.sources.view import View, ViewedSource

app = command_app()
ANY = "*"
GIVE_UP_AFTER = 15.0


SOURCE = present("source")
FILES = absent("source", "image files")
SNAPSHOTS = absent("catalogue", "a register without --catalogue")
LOCATED = Mode("--empty or --detector", lambda values: values["empty"] or values["detector"])
BURST = Group(
    Burst,
    Option("seconds", "--burst", float, "With --source: turn the part for so many seconds."),
    only=(SOURCE,),
)


@command(app)
def register(
    bundle: BundlePath,
    label: Annotated[str, typer.Argument(help="The product's name.")],
    gallery: GalleryPath,
    view: Annotated[View, VIEW, Only(SOURCE)],
    grabber: Annotated[GrabberOptions, GRABBER, Only(SOURCE)],
    reading: Annotated[Reading, READING],
    burst: Annotated[Given[Burst], BURST],
    detector: Annotated[Given[DetectorSettings], REGISTER_DETECTOR],
    session_options: Annotated[SessionOptions, Group(SessionOptions, PRECISION_HINT)],
    trusting: Annotated[Trusting, TRUSTING],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Snapshots: image files, or folders of them.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Take frames of this camera or video.")
    ] = None,
    shots: Annotated[
        int,
        typer.Option("--shots", min=1, help="With --source: how many."),
        Only(SOURCE, absent("burst", "a register without --burst")),
    ] = 1,
    wait_key: Annotated[
        bool,
        typer.Option("--wait-key", help="With --source: press Enter for each snapshot."),
        Only(SOURCE),
    ] = False,
    catalogue: Annotated[
        bool,
        typer.Option("--catalogue", help="Catalogue pictures: the product alone, on white."),
        Only(FILES),
    ] = False,
    negative: Annotated[
        bool,
        typer.Option("--negative", help='This is NOT that product ("*": no product at all).'),
        Only(SNAPSHOTS),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Register in spite of what the checks find.")
    ] = False,
    empty: Annotated[
        Path | None,
        typer.Option("--empty", help="Picture of the empty scene: parts are found and cut out."),
        Only(SNAPSHOTS, absent("detector", "a register without --detector")),
    ] = None,
    part: Annotated[
        int | None,
        typer.Option("--part", min=1, help="Which of several parts in view, from left to right."),
        Only(LOCATED, absent("burst", "a register without --burst")),
    ] = None,
    provider: Provider = "auto",
    author: Author = None,
) -> None:
    """Register a product from one snapshot, or add snapshots to it.

    All images are registered, or, if one of them is unreadable or refused, none. A picture that is
    dark, blurred, cut off, or like another product is refused with the reason. A catalogue picture
    counts as one snapshot, in the views that bring it nearest to the camera's.
    """
    anything = negative and label == ANY
    label = label if anything else checked_label(label)
    _one_of(images or [], source)
    if burst.values:
        burst.made()  # found out now rather than before a camera
    provenance = trusting.provenance(gallery, held=1)
    loaded = load_bundle(bundle, provenance)
    session = open_session(loaded, provider, options=session_options)
    taken(provenance, loaded.signed)
    locator = register_locator(empty, detector, view, reading)
    if source is not None and burst.values:
        shown = burst.made(locator=locator, force=force)
        with _opened(source, grabber, reading) as camera:
            snapshots = worth_keeping(_burst(shown, camera, view, wait_key), session)
    else:
        pictures = [
            _read(item, locator, reading, catalogue, part)
            for item in _items(images or [], source, grabber, reading, shots, wait_key, view)
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
    item: Path | Frame,
    locator: Locator | None,
    reading: Reading,
    catalogue: bool,
    part: int | None,
) -> Picture:
    """Read and inspect what is to be registered."""
    if catalogue and isinstance(item, Path):
        return read_catalogue_picture(item, reading)
    return read_picture(item, locator, reading, part)


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


def _burst(burst: Burst, source: Source, view: View, wait_key: bool) -> list[Picture]:
    """Take a burst: now, or when Enter is pressed."""
    after = _pressed(source, wait_key)
    viewed = source if view.changes_nothing else ViewedSource(source, view)
    typer.echo(f"turn the part for {burst.seconds:g} s", err=True)
    return take_burst(viewed, burst, after=after)


def _one_of(images: list[Path], source: str | None) -> None:
    """Raise unless there is one place to take snapshots from."""
    if bool(images) == (source is not None):
        raise VisionEdgeError(
            "nothing to register" if not images else "both images and --source were given",
            fix="give image files, or --source with a camera",
        )


def _items(
    images: list[Path],
    source: str | None,
    grabber: GrabberOptions,
    reading: Reading,
    shots: int,
    wait_key: bool,
    view: View,
) -> list[Path | Frame]:
    """Return what is to be registered: files, or frames of a source."""
    if source is None:
        return [*_files(images)]
    with _opened(source, grabber, reading) as opened:
        return [_viewed(_shot(opened, number, wait_key), view) for number in range(shots)]


def _files(images: list[Path]) -> Iterator[Path]:
    """Yield files, those of folders too."""
    for path in images:
        yield from _in_folder(path) if path.is_dir() else [path]


def _in_folder(folder: Path) -> list[Path]:
    """Return a folder's pictures, and say what was passed over."""
    paths, found = images_in(folder)
    for line in found.lines():
        typer.echo(f"note: {folder}: {line}", err=True)
    return paths


@contextmanager
def _opened(spec: str, grabber: GrabberOptions, reading: Reading) -> Iterator[Source]:
    """Open the camera, and give up on it soon: someone waits."""
    refuse_fired(spec)
    settings = LiveSettings(give_up_after=GIVE_UP_AFTER, grabber=grabber)
    opened = open_source(spec, live=settings, reading=reading)
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


def _viewed(frame: Frame, view: View) -> Frame:
    """Turn, mirror and cut a frame."""
    return frame if view.changes_nothing else replace(frame, image=view.apply(frame.image))
