"""Writing video files that appear when they are complete, and are called partial until then."""

from __future__ import annotations

import glob
import logging
import secrets
from pathlib import Path
from typing import Any

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import VisionEdgeError, require

_LOG = logging.getLogger(__name__)


class VideoWriter:
    """Writes frames into a video; it appears at its path when it is closed.

    Until then it lies beside it as `NAME.part-XXXXXXXX.SUFFIX`: what a run leaves behind that was
    killed is called what it is. Such a file of an earlier run is kept, and named in a warning.

    Args:
        path: The file, by its suffix `.mp4`, `.avi` or `.mkv`.
        fps: Frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._fps = fps
        _name_leftovers(path)
        self._part = path.with_name(f"{path.stem}.part-{secrets.token_hex(4)}{path.suffix}")
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, image: Image) -> None:
        """Write one frame, uint8 (H, W, 3) BGR, letterboxed to the size of the first.

        Raises:
            VisionEdgeError: If OpenCV cannot write this kind of video.
        """
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._writer = self._open()
        self._writer.write(_letterbox(image, self._size))

    def close(self) -> None:
        """Finish the file and move it to its place; without a frame there is no file."""
        if self._writer is not None:
            self._writer.release()
            self._part.replace(self._path)
            self._writer = None

    def _open(self) -> Any:
        cv2 = require("cv2")
        codec = "MJPG" if self._path.suffix.lower() == ".avi" else "mp4v"
        writer = cv2.VideoWriter(
            str(self._part),
            cv2.VideoWriter_fourcc(*codec),
            self._fps,
            self._size,
        )
        if not writer.isOpened():
            self._part.unlink(missing_ok=True)
            raise VisionEdgeError(
                f"{self._path}: OpenCV cannot write this kind of video", fix="use .mp4 or .avi"
            )
        return writer


def _name_leftovers(path: Path) -> None:
    left = sorted(one.name for one in path.parent.glob(f"{glob.escape(path.stem)}.part-*"))
    if left:
        _LOG.warning(
            "%s: unfinished recordings of earlier runs, or of one that still writes, lie beside it "
            "(%s); watch or remove them",
            path,
            ", ".join(left[:5]),
        )


def _letterbox(image: Image, size: tuple[int, int]) -> Image:
    """Fit an image into `size` (width, height) on black, keeping its proportions."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    cv2 = require("cv2")
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    fitted = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    inner = cv2.resize(image, fitted, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - inner.shape[0]) // 2, (size[0] - inner.shape[1]) // 2
    bottom, right = size[1] - inner.shape[0] - top, size[0] - inner.shape[1] - left
    boxed: Image = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT)
    return boxed
