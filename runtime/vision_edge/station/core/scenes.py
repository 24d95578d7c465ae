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
from vision_edge.runtime.errors import VisionEdgeError, require
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
        empty: The whole upright picture of the empty scene, uint8 (H, W, 3) BGR, if there is one.
        empty_from: Who says so.
        taken: When it was taken on the page, UTC, as ISO 8601.
        author: Who took it.
    """

    roi: Roi | None
    roi_from: Origin
    empty: Image | None
    empty_from: Origin
    taken: str | None = None
    author: str | None = None

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
        upright = View(settings.rotate, settings.flip).apply(
            read_image(settings.empty, settings.reading)
        )
        return Scene(roi, roi_from, upright, "settings")


def _origin(value: object) -> Origin:
    return "none" if value is None else "settings"
