"""A folder that grows: a camera that drops its pictures there, by FTP or otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.images.picture_kinds import IMAGE_SUFFIXES
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.runtime.sources.frame import Frame
from vision_edge.runtime.system.files import printable

LOOK_SECONDS = 0.25
WHOLE_SECONDS = 0.5
"""A file that has not changed for so long, and can be read, is whole."""
GIVE_UP_SECONDS = 10.0
"""One that cannot be read so long after its last change is no picture: an upload broke off."""
_Stamp = tuple[int, int]


class FollowedFolder:
    """Pictures of a folder and its sub-folders as they come, each once it is whole.

    Those that are there already come first, by the time of their last change. A file that is
    written anew under its old name is another picture. It does not end by itself: `close` ends it.

    Args:
        folder: The folder.
        on_error: Called with the error of each file that stays unreadable; without it, raised.
        reading: What the files do not say of themselves.

    Attributes:
        endless: It waits for what has not come yet, so nothing is prepared ahead of it.

    Raises:
        SourceError: If it is no folder.
    """

    live = False
    endless = True
    fps: float | None = None

    def __init__(
        self,
        folder: Path,
        on_error: Callable[[ImageError], None] | None = None,
        reading: Reading = AS_IT_SAYS,
    ) -> None:
        if not folder.is_dir():
            raise SourceError(f"{folder}: is no folder that could be followed", fix="give a folder")
        self.name = printable(folder)
        self._folder, self._on_error, self._reading = folder, on_error, reading
        self._closed = threading.Event()
        self._seen: dict[Path, _Stamp] = {}
        self._waiting: dict[Path, tuple[_Stamp, float]] = {}

    def __iter__(self) -> Iterator[Frame]:
        """Deliver each picture that is whole; wait for more."""
        number = 0
        while not self._closed.is_set():
            for path in self._whole():
                image = self._read(path)
                if image is not None:
                    yield Frame(image, printable(path), number, time.monotonic())
                    number += 1
                if self._closed.is_set():
                    return
            self._closed.wait(LOOK_SECONDS)

    def close(self) -> None:
        """End it; from any thread."""
        self._closed.set()

    def _whole(self) -> list[Path]:
        """Return the files that are still by now and were not delivered, oldest first."""
        now, there = time.monotonic(), self._stamps()
        self._seen = {path: stamp for path, stamp in self._seen.items() if path in there}
        fresh = {path: stamp for path, stamp in there.items() if self._seen.get(path) != stamp}
        waiting = {}
        for path, stamp in fresh.items():
            before, since = self._waiting.get(path, (stamp, now))
            waiting[path] = (stamp, since if before == stamp else now)
        self._waiting = waiting
        still = [path for path, (_, since) in waiting.items() if now - since >= WHOLE_SECONDS]
        return sorted(still, key=lambda path: (there[path][0], path))

    def _stamps(self) -> dict[Path, _Stamp]:
        """Return when each picture file was changed last, and its size; without empty ones."""
        found = {}
        for path in self._folder.rglob("*"):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                continue
            try:
                status = path.stat()
            except OSError:  # gone, or being renamed
                continue
            if status.st_size:
                found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def _read(self, path: Path) -> Image | None:
        """Return a file's picture; None if it is not whole yet, or is given up."""
        stamp, since = self._waiting[path]
        try:
            image = read_image(path, self._reading)
        except ImageError as error:
            if time.monotonic() - since < GIVE_UP_SECONDS:
                return None
            self._seen[path] = stamp
            if self._on_error is None:
                raise
            self._on_error(error)
            return None
        self._seen[path] = stamp
        return image
