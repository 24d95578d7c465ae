"""Opening a source by its name on the command line: one, or several cameras as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.runtime.sources.addresses import live_address
from vision_edge.runtime.sources.files import (
    ImageSource,
    VideoSource,
    images_in,
    is_still,
    matching,
)
from vision_edge.runtime.sources.frame import Source
from vision_edge.runtime.sources.live import LiveSettings, LiveSource, LiveState
from vision_edge.runtime.sources.several import SeveralCameras

if TYPE_CHECKING:
    from vision_edge.runtime.sources.live import LiveSettings, LiveState


SourceKind = Literal["live", "video", "pictures"]
"""A camera or stream, a video file, or pictures in files."""


def open_sources(
    specs: Sequence[str],
    on_error: Callable[[ImageError], None] | None = None,
    *,
    live: LiveSettings | None = None,
    on_state: Callable[[str, LiveState, str], None] | None = None,
    reading: Reading = AS_IT_SAYS,
) -> Source:
    """Open one source, or several cameras as one.

    Args:
        specs: Sources as `open_source` takes them, at least one; several must all be live.
        on_error: Called with each unreadable image.
        live: How cameras and streams behave.
        on_state: Called with a camera's name, its new state and the reason.
        reading: What pictures do not say of themselves.

    Raises:
        SourceError: If one cannot be opened, or several are not all live.
    """
    if len(specs) == 1:
        return _open_one(specs[0], on_error, live, on_state, reading)
    cameras = [live_address(spec) for spec in specs]
    if any(camera is None for camera in cameras):
        raise SourceError(
            f"of several sources each must be a camera or stream; got {', '.join(specs)}",
            fix="give one file or folder, or only cameras and streams",
        )
    condition = threading.Condition()
    opened: list[LiveSource] = []
    try:
        for camera in cameras:
            assert camera is not None
            told = _told(on_state, camera[1])
            settings = _reads(live, reading, camera[0])
            opened.append(LiveSource(*camera, settings, on_state=told, condition=condition))
    except BaseException:
        for source in opened:
            source.close()
        raise
    return SeveralCameras(opened, condition)


def _open_one(
    spec: str,
    on_error: Callable[[ImageError], None] | None,
    live: LiveSettings | None,
    on_state: Callable[[str, LiveState, str], None] | None,
    reading: Reading,
) -> Source:
    camera = live_address(spec)
    told = _told(on_state, camera[1] if camera else spec)
    return open_source(spec, on_error, live=live, on_state=told, reading=reading)


def _told(
    on_state: Callable[[str, LiveState, str], None] | None, name: str
) -> Callable[[LiveState, str], None] | None:
    if on_state is None:
        return None
    return lambda state, reason: on_state(name, state, reason)


def gives_pictures(spec: str) -> bool:
    """Whether a source may give pictures in files' formats: files, or an `http://` address."""
    camera = live_address(spec)
    if camera is not None:
        return str(camera[0]).startswith(("http://", "https://"))
    return source_kind(spec) == "pictures"


def _reads(live: LiveSettings | None, reading: Reading, address: int | str) -> LiveSettings:
    """Return how a camera behaves, with what its pictures do not say where it may give any."""
    settings = live or LiveSettings()
    if reading == AS_IT_SAYS or not gives_pictures(str(address)):
        return settings
    return replace(settings, grabber=replace(settings.grabber, reading=reading))


def source_kind(spec: str) -> SourceKind:
    """Return what a source would be opened as; nothing is opened for good.

    Args:
        spec: As `open_source` takes it.
    """
    if live_address(spec) is not None:
        return "live"
    path = Path(spec)
    return "video" if path.is_file() and not is_still(path) else "pictures"


def open_source(
    spec: str,
    on_error: Callable[[ImageError], None] | None = None,
    *,
    live: LiveSettings | None = None,
    on_state: Callable[[LiveState, str], None] | None = None,
    reading: Reading = AS_IT_SAYS,
) -> Source:
    """Open a source by its name on the command line.

    Args:
        spec: A device index (`0`), `/dev/video0` or `v4l2:///dev/video0`, `csi://0`,
            `gst://PIPELINE`, a stream's address, a video or image file, a folder of images, or a
            glob.
        on_error: For images: called with each unreadable one; without it the first is raised.
        live: How a camera or stream behaves.
        on_state: Called with each new state of a camera or stream, and its reason.
        reading: What pictures do not say of themselves.

    Returns:
        An open source.

    Raises:
        SourceError: If it names nothing that can deliver frames.
    """
    if not spec.strip():  # as a path it would be the current folder
        raise SourceError(
            "the source has no name", fix="give a device index such as 0, or an image's path"
        )
    camera = live_address(spec)
    if camera is not None:
        return LiveSource(*camera, _reads(live, reading, camera[0]), on_state=on_state)
    path = Path(spec)
    if path.is_file():
        return ImageSource(spec, [path], on_error, reading) if is_still(path) else VideoSource(path)
    paths, found = images_in(path) if path.is_dir() else matching(spec)
    return ImageSource(spec, paths, on_error, reading, found)
