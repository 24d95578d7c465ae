"""Sources: where frames come from. Image files, folders and globs, video files, cameras.

File sources give every frame, in order. Live sources (`live.py`) give the latest frame only.
No source ever invents a frame; all give BGR.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vision_edge.runtime.errors import ImageError, SourceError, require
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.images.picture_files import PictureFiles, pictures_among, pictures_below
from vision_edge.runtime.images.picture_kinds import IMAGE_SUFFIXES, kind_of
from vision_edge.runtime.images.picture_parts import gif_pictures
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.runtime.sources.frame import Frame
from vision_edge.runtime.sources.opencv_grabber import quiet_opencv
from vision_edge.runtime.system.files import printable

TEXT_SUFFIXES = frozenset({".ans", ".art", ".asc", ".diz", ".ice", ".nfo", ".txt", ".vt"})
"""FFmpeg takes these for videos: it would film the characters."""


class ImageSource:
    """Image files, in the order given. An unreadable one is reported, and the rest go on.

    Args:
        name: What the user asked for.
        paths: The files, at least one.
        on_error: Called with each file's error; without it the error is raised.
        reading: What the files do not say of themselves.
        found: What `paths` were chosen from, with what was passed over.
    """

    live = False
    fps: float | None = None

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        on_error: Callable[[ImageError], None] | None = None,
        reading: Reading = AS_IT_SAYS,
        found: PictureFiles | None = None,
    ) -> None:
        self.name = name
        self.paths = list(paths)
        self.found = found or PictureFiles(tuple(map(str, paths)))
        self._on_error, self._reading = on_error, reading

    def __iter__(self) -> Iterator[Frame]:
        """Deliver each readable image; `Frame.number` counts files, readable or not."""
        for number, path in enumerate(self.paths):
            try:
                image = read_image(path, self._reading)
            except ImageError as error:
                if self._on_error is None:
                    raise
                self._on_error(error)
                continue
            yield Frame(image, printable(path), number, time.monotonic())

    def close(self) -> None:
        """Nothing to release."""


class VideoSource:
    """A video file, every frame in order, as fast as it decodes.

    Attributes:
        promised: Frames by the file's header, where it says.
        delivered: Frames delivered so far.

    Raises:
        SourceError: If the file cannot be opened as a video, or holds no frame.
    """

    live = False

    def __init__(self, path: Path) -> None:
        cv2 = require("cv2")
        self.name = printable(path)
        with quiet_opencv():
            self._capture = cv2.VideoCapture(_no_address(path))
        if not self._capture.isOpened() or path.suffix.lower() in TEXT_SUFFIXES:
            raise SourceError(
                f"{path}: OpenCV cannot open it as a video",
                fix="check the file; convert it with ffmpeg if the codec is unusual",
            )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps: float | None = rate if 0 < rate < 1000 else None
        promised = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.promised: int | None = round(promised) if 0 < promised < 1e9 else None
        self.delivered = 0

    @property
    def missing(self) -> int:
        """Frames that the file's header promises and that it did not hold, once it is read."""
        return max(0, (self.promised or 0) - self.delivered)

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frames; a file that is cut short ends at its last whole one.

        Raises:
            SourceError: If not even one frame can be decoded.
        """
        number = 0
        while True:
            done, image = self._capture.read()
            if not done:
                break
            yield Frame(image, self.name, number, time.monotonic())
            number += 1
            self.delivered = number
        if number == 0:
            raise SourceError(
                f"{self.name}: no frame could be decoded", fix="check that the video plays"
            )

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


def _no_address(path: Path) -> str:
    """Return a path that FFmpeg cannot take for an address: `cam:1.mp4` would have a protocol."""
    return str(path.absolute())


def is_still(path: Path) -> bool:
    """Whether a file is a picture and no video, by its content; else by what its name promises.

    A GIF that moves, and pictures one behind the other in a `.mjpeg`, are videos.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
            kind = kind_of(head)
            if kind == "GIF":
                return _stands_still(head + stream.read())
            if kind == "JPEG" and path.suffix.lower() in (".mjpeg", ".mjpg"):
                return b"\xff\xd9\xff\xd8\xff" not in head + stream.read()
    except OSError:
        return path.suffix.lower() in IMAGE_SUFFIXES
    if kind is None:
        return path.suffix.lower() in IMAGE_SUFFIXES
    return kind != "video"


def _stands_still(gif: bytes) -> bool:
    try:
        return gif_pictures(gif) == 1
    except (ValueError, IndexError):
        return True


def matching(pattern: str) -> tuple[list[Path], PictureFiles]:
    """Return the pictures that a glob matches, sorted, and what was passed over.

    Raises:
        SourceError: If there are none.
    """
    matches = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 (absolute patterns too)
    found = pictures_among(match for match in matches if not match.is_dir())
    if not found.files:
        left_out = f"; {found.lines()[0]}" if found.passed_over else ""
        raise SourceError(
            f"{pattern!r} is no camera, stream, file, folder or pattern with images{left_out}",
            fix="give a device index such as 0, rtsp://…, a video, an image, a folder or a glob",
        )
    return [Path(file) for file in found.files], found


def images_below(folder: Path) -> list[Path]:
    """Return the image files in a folder and its sub-folders, sorted by path.

    Raises:
        SourceError: If there are none.
    """
    return images_in(folder)[0]


def images_in(folder: Path) -> tuple[list[Path], PictureFiles]:
    """Return the image files in a folder and its sub-folders, sorted, and what was passed over.

    Raises:
        SourceError: If there are none.
    """
    found = pictures_below(folder)
    if not found.files:
        left_out = f"; {found.lines()[0]}" if found.passed_over else ""
        raise SourceError(
            f"{folder}: no images in this folder that are read{left_out}",
            fix="give a folder with images (JPEG, PNG, WebP, TIFF, …), or a video by its name",
        )
    return [folder / file for file in found.files], found
