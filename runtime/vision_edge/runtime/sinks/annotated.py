"""Sinks: where verdicts go. JSON lines, and annotated images or video."""

from __future__ import annotations

from pathlib import Path

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.video_writer import VideoWriter
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.sinks.sink import Sink
from vision_edge.runtime.sources.frame import Frame

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mjpeg", ".mpg"})
"""Suffixes that name one file to write; any other path is a folder's."""

HOLD_SECONDS = 2.0
"""For so long a part's verdict stands on the frames of a film."""
_KNOWN, _UNKNOWN = (80, 200, 80), (60, 120, 240)  # BGR: green, orange-red
_UNJUDGED = (200, 200, 200)


class ImageSink:
    """Writes annotated JPEGs into a folder, named by frame number and source."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Write one annotated image."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{frame.number:06d}-{Path(frame.source).stem}.jpg"
        (self._folder / name).write_bytes(encode_jpeg(annotate(frame.image, verdict)))

    def close(self) -> None:
        """Nothing to finish."""


class OneImageSink:
    """Writes the last annotated image to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Write the annotated image."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not require("cv2").imwrite(str(self._path), annotate(frame.image, verdict)):
            raise VisionEdgeError(f"{self._path}: cannot be written", fix="check the folder")

    def close(self) -> None:
        """Nothing to finish."""


class VideoSink:
    """Writes an annotated video: of verdicts on frames as they come, or with `show` of all frames.

    Args:
        path: The file, by its suffix `.mp4`, `.avi` or `.mkv`.
        fps: Frames a second.
        timed: Whether frames lie where they were captured, as those of a camera do: a pause is as
            long as it was, and what comes quicker than `fps` is left out.
    """

    def __init__(self, path: Path, fps: float, *, timed: bool = False) -> None:
        self._writer = VideoWriter(path, fps)
        self._fps, self._timed = fps, timed
        self._shown = False
        self._began: float | None = None
        self._written = 0
        self._last: Image | None = None
        self._verdict: tuple[Verdict, float] | None = None

    def write(self, frame: Frame, verdict: Verdict) -> None:
        """Write one annotated frame; with `show`, annotate what follows."""
        if self._shown:
            self._verdict = (verdict, self._now(frame))
        else:
            self._put(annotate(frame.image, verdict), frame)

    def show(self, frame: Frame) -> None:
        """Write a frame, with the verdict of a part for some seconds after it was given."""
        self._shown = True
        latest = self._verdict
        new = latest is not None and self._now(frame) - latest[1] <= HOLD_SECONDS
        self._put(annotate(frame.image, latest[0]) if latest and new else frame.image, frame)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _now(self, frame: Frame) -> float:
        """Return a frame's place in the film, in seconds."""
        return frame.captured if self._timed else frame.number / self._fps

    def _put(self, image: Image, frame: Frame) -> None:
        """Write a frame at its place: the one before stands until then."""
        if not self._timed:
            self._writer.write(image)
            return
        self._began = frame.captured if self._began is None else self._began
        place = round((frame.captured - self._began) * self._fps)
        if place < self._written:
            return
        while self._last is not None and self._written < place:
            self._writer.write(self._last)
            self._written += 1
        self._writer.write(image)
        self._written, self._last = place + 1, image


def annotated_sink(path: Path, fps: float, images: int | None, *, timed: bool = False) -> Sink:
    """Return the sink for `--save`: a video by its suffix, one image, or a folder of images.

    Args:
        path: What the user gave.
        fps: Rate for a video.
        images: Number of images the source has, or None where it is a stream of frames.
        timed: Whether a video's frames lie where they were captured.

    Raises:
        VisionEdgeError: If one image file is to hold many.
    """
    suffix = path.suffix.lower()
    if suffix in _VIDEOS:
        return VideoSink(path, fps, timed=timed)
    if suffix in _PICTURES:
        if images != 1:
            raise VisionEdgeError(
                f"--save {path}: one image file cannot hold all annotated frames",
                fix="give a folder, or a video file such as out.mp4",
            )
        return OneImageSink(path)
    return ImageSink(path)


def annotate(image: Image, verdict: Verdict) -> Image:
    """Return a copy with the verdict drawn on a band along the bottom: uint8 (H, W, 3), BGR.

    Each located part has its box and its name; with several, the band says how many there are.
    """
    cv2 = require("cv2")
    decision = verdict.decision
    asked = verdict.verification
    good = decision.known if asked is None else asked.answer == "right"
    colour = _KNOWN if good else _UNKNOWN
    text = f"{decision.label or 'unknown'}  {decision.score:.2f}"
    if asked is not None:
        text = f"{asked.answer.upper()}: {asked.expected}?  {text}"
    if len(verdict.parts) > 1:
        text = f"{len(verdict.parts)} parts"
        colour = _KNOWN if all(p.decision and p.decision.known for p in verdict.parts) else _UNKNOWN
    picture: Image = image.copy()
    for part in verdict.parts:
        draw_part(picture, part)
    height, width = picture.shape[:2]
    band = max(12, min(height // 8, 48))
    picture[height - band :] = picture[height - band :] // 4
    scale = band / 40
    thickness = max(1, round(scale * 2))
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    scale *= min(1.0, (width - 8) / max(length, 1))
    origin = (4, height - round(band * 0.3))
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, text, origin, font, scale, colour, thickness, cv2.LINE_AA)
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), colour, max(1, band // 12))
    return picture


def draw_part(picture: Image, part: LocatedPart) -> None:
    """Draw one part's box and name on a picture, uint8 (H, W, 3) BGR, which is changed."""
    cv2 = require("cv2")
    decision, (x0, y0, x1, y1) = part.decision, part.box
    colour = _UNJUDGED if decision is None else _KNOWN if decision.known else _UNKNOWN
    unit = max(1, round(min(picture.shape[:2]) / 360))
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour, 2 * unit)
    if decision is None:
        return
    text, font = f"{decision.label or 'unknown'} {decision.score:.2f}", cv2.FONT_HERSHEY_SIMPLEX
    scale = 0.5 * unit
    (length, height), low = cv2.getTextSize(text, font, scale, unit)
    left = max(0, min(x0, picture.shape[1] - length - 4))
    base = y0 - low if y0 > height + low + 2 else min(y1 + height + low, picture.shape[0] - low)
    top = max(0, base - height - low)
    picture[top : base + low, left : left + length + 4] //= 4
    cv2.putText(picture, text, (left + 2, base), font, scale, colour, unit, cv2.LINE_AA)
