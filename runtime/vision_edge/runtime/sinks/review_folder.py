"""A folder of the pictures that need a person."""

from __future__ import annotations

from pathlib import Path

from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame
from vision_edge.runtime.system.files import atomic_file


class ReviewSink:
    """Keeps the pictures that need a person: reviews and unknowns, each with its verdict beside it.

    `review/` and `unknown/` hold JPEG files without anything drawn on them, fit to be registered,
    and JSON files of the same name.

    Args:
        folder: Where the two folders are made.
        most: No more than so many pictures a run, so that a disk does not fill.
    """

    def __init__(self, folder: Path, most: int = 1000) -> None:
        self._folder = folder
        self._left = most

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Keep one picture, unless a product was recognised, or it is the expected one."""
        band, asked = verdict.decision.band, verdict.verification
        right = asked is not None and asked.answer == "right"
        if band == "accept" or right or self._left <= 0:
            return
        self._left -= 1
        moment = verdict.time.strftime("%Y%m%dT%H%M%S.%f")
        path = self._folder / band / f"{moment}-{frame.number:06d}.jpg"
        with atomic_file(path) as temporary:
            temporary.write_bytes(encode_jpeg(frame.image))
        with atomic_file(path.with_suffix(".json")) as temporary:
            temporary.write_text(verdict.to_json() + "\n", encoding="utf-8")

    def close(self) -> None:
        """Nothing to finish."""
