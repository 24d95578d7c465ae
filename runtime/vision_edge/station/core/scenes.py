"""A source's scene: its region of interest and the picture of it empty, by settings or by the page.

What was set on the page holds against the settings, is kept in the state folder, and outlives a
restart; forgetting it returns to the settings.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import ImageError, VisionEdgeError, require
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.sources.view import View
from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.core.errors import CropError
from vision_edge.station.settings.station import SourceSettings

log = logging.getLogger(__name__)
Roi = tuple[int, int, int, int]
"""x, y, width, height in pixels of the upright picture."""
Origin = Literal["page", "settings", "none"]
_LEAST = 32


@dataclass(frozen=True)
class Scene:
    """What is known of a source's scene; another object whenever that changes.

    Attributes:
        roi: The region of interest of the upright picture, or None for all of it.
        roi_from: Who says so.
        empty: The upright picture of the empty scene, uint8 (H, W, 3) BGR, if there is one: whole,
            or already cut to the settings' region.
        empty_from: Who says so.
        taken: When it was taken on the page, UTC, as ISO 8601.
        author: Who took it.
        corner: Where the empty picture's upper left corner is in the whole picture, (x, y).
        file: The empty picture's file, to name it.
    """

    roi: Roi | None
    roi_from: Origin
    empty: Image | None
    empty_from: Origin
    taken: str | None = None
    author: str | None = None
    corner: tuple[int, int] = (0, 0)
    file: str = "empty"

    def empty_cut(self) -> Image | None:
        """Return what the region of interest shows of the empty scene; None without a picture.

        Raises:
            ImageError: If the empty picture does not hold the region.
        """
        if self.empty is None or self.roi is None:
            return self.empty
        x, y = self.roi[0] - self.corner[0], self.roi[1] - self.corner[1]
        wide, high = self.roi[2:]
        held_wide, held_high = self.empty.shape[1::-1]
        if min(x, y) < 0 or x + wide > held_wide or y + high > held_high:
            raise ImageError(
                f"empty: {self.file} is {held_wide}x{held_high} pixels and does not hold the "
                f"region of interest, roi = {list(self.roi)}; it must be the whole picture "
                f"(GET sources/NAME/whole.jpg), or one of exactly {wide}x{high}, cut to roi",
                fix="take it anew",
            )
        return self.empty[y : y + high, x : x + wide]

    def cut(self, image: Image) -> Image:
        """Return the region of interest of an upright picture.

        Raises:
            SourceError: If it is not inside the picture.
        """
        return image if self.roi is None else View(roi=self.roi).apply(image)

    def document(self) -> dict[str, Any]:
        """Return what may be told of it, as JSON values."""
        return {
            "roi": None if self.roi is None else list(self.roi),
            "roi_from": self.roi_from,
            "empty_from": self.empty_from,
            "empty_size": None if self.empty is None else list(self.empty.shape[1::-1]),
            "empty_taken": self.taken,
            "empty_author": self.author,
        }


class SceneKeeper:
    """Knows a source's scene, and keeps what is set on the page.

    Args:
        settings: Of the source.
        folder: Where it is kept; None keeps nothing.
    """

    def __init__(self, settings: SourceSettings, folder: Path | None) -> None:
        self._settings = settings
        self._file = None if folder is None else folder / f"{settings.name}.json"
        self._lock = threading.Lock()
        self._set = self._read()
        self._scene: Scene | None = None

    @property
    def picture(self) -> Path | None:
        """The file of the empty picture that was taken on the page."""
        return None if self._file is None else self._file.with_suffix(".png")

    def current(self) -> Scene:
        """Return the scene, read anew only after a change.

        Raises:
            ImageError: If the settings' empty picture cannot be read.
        """
        with self._lock:
            if self._scene is None:
                self._scene = self._made()
            return self._scene

    def document(self) -> dict[str, Any]:
        """Return what may be told of the scene; an unreadable picture counts as none."""
        try:
            return self.current().document()
        except VisionEdgeError:
            settings = self._settings
            return Scene(settings.roi, _origin(settings.roi), None, "none").document()

    def set_roi(self, roi: Roi | None, size: tuple[int, int]) -> None:
        """Set the region of interest on the page; None returns to the settings'.

        Args:
            roi: The region.
            size: The upright picture's (width, height).

        Raises:
            CropError: If it is not inside the picture, or too small.
        """
        if roi is not None:
            x, y, width, height = roi
            inside = min(x, y) >= 0 and x + width <= size[0] and y + height <= size[1]
            if not inside or min(width, height) < _LEAST:
                raise CropError(
                    f"the region {roi} is not inside a picture of {size[0]}x{size[1]} pixels, or "
                    f"smaller than {_LEAST}",
                    fix="draw it anew",
                )
        self._keep(roi=None if roi is None else list(roi))

    def take_empty(self, image: Image, author: str) -> None:
        """Take a whole upright picture, uint8 (H, W, 3) BGR, as the empty scene's."""
        if self.picture is not None:
            coded, data = require("cv2").imencode(".png", image)
            if not coded:
                raise CropError("the picture cannot be kept", fix="try again")
            self.picture.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.picture) as temporary:
                temporary.write_bytes(data.tobytes())
        taken = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._keep(empty={"taken": taken, "author": author})

    def forget_empty(self) -> None:
        """Return to the settings' empty picture."""
        self._keep(empty=None)
        if self.picture is not None:
            self.picture.unlink(missing_ok=True)

    def _keep(self, **changed: Any) -> None:
        with self._lock:
            now = {**self._set, **changed}
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(self._file) as temporary:
                    temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
            self._set, self._scene = now, None

    def _read(self) -> dict[str, Any]:
        """Return what was kept; what is damaged counts as not set, and is told of."""
        if self._file is None or not self._file.exists():
            return {}
        try:
            read = json.loads(self._file.read_text(encoding="utf-8"))
            roi, empty = read.get("roi"), read.get("empty")
            fits = roi is None or (len(roi) == 4 and all(isinstance(v, int) for v in roi))
            if not fits or not (empty is None or isinstance(empty, dict)):
                raise ValueError
            return dict(read)
        except (OSError, ValueError, TypeError, AttributeError):
            log.warning("%s is damaged; the settings' scene holds", self._file.name)
            return {}

    def _made(self) -> Scene:
        settings, kept = self._settings, self._set
        roi: Roi | None = settings.roi
        roi_from: Origin = _origin(roi)
        if kept.get("roi") is not None:
            roi, roi_from = tuple(kept["roi"]), "page"
        own, picture = kept.get("empty"), self.picture
        if own is not None and picture is not None:
            try:
                empty = read_image(picture)
                return Scene(roi, roi_from, empty, "page", own.get("taken"), own.get("author"))
            except VisionEdgeError as error:
                log.warning("%s; the settings' empty picture holds", error.what)
        if settings.empty is None:
            return Scene(roi, roi_from, None, "none")
        return self._of_settings(roi, roi_from, settings.empty)

    def _of_settings(self, roi: Roi | None, roi_from: Origin, path: Path) -> Scene:
        """Return the scene with the settings' empty picture.

        One of the size of the settings' region is what `frame.jpg` gives: upright, and cut to it.
        """
        settings = self._settings
        image = read_image(path, settings.reading)
        turned = settings.rotate != 0 or settings.flip != "none"
        cut = settings.roi is not None and image.shape[1::-1] == settings.roi[2:]
        if settings.roi is not None and cut and not (turned and settings.roi[:2] == (0, 0)):
            corner = settings.roi[:2]
            return Scene(roi, roi_from, image, "settings", corner=corner, file=path.name)
        upright = View(settings.rotate, settings.flip).apply(image)
        return Scene(roi, roi_from, upright, "settings", file=path.name)


def _origin(value: object) -> Origin:
    return "none" if value is None else "settings"
