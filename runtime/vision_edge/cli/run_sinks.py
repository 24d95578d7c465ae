"""Where `vision-edge run` writes its verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vision_edge.cli.declarations import Group, Option, present
from vision_edge.runtime.sinks.annotated import annotated_sink
from vision_edge.runtime.sinks.review_folder import ReviewSink
from vision_edge.runtime.sinks.sink import Sink
from vision_edge.runtime.sinks.tables import CsvSink, JsonlSink, RotatingJsonlSink
from vision_edge.runtime.sources.files import ImageSource
from vision_edge.runtime.sources.frame import Source

_NO_RATE = 10.0
"""Frames a second of an annotated video of what has no rate of its own."""


@dataclass(frozen=True)
class SinkOptions:
    """What a run writes.

    Attributes:
        jsonl: A JSON object a verdict; the verdicts are printed where it is None.
        rotate_mb: Append to that file, and rotate it at so many MB.
        csv: A table of verdicts.
        save: An annotated video or image, or a folder of images.
        review: A folder of pictures to review, and of unknowns.
    """

    jsonl: Path | None = None
    rotate_mb: float | None = None
    csv: Path | None = None
    save: Path | None = None
    review: Path | None = None

    def opened(self, source: Source) -> list[Sink]:
        """Open all sinks.

        Args:
            source: What is judged; a video that is saved has its rate.

        Raises:
            VisionEdgeError: If one of them cannot hold what comes.
        """
        sinks: list[Sink] = []
        if self.jsonl is not None and self.rotate_mb is None:
            sinks.append(JsonlSink(self.jsonl))
        if self.jsonl is not None and self.rotate_mb is not None:
            sinks.append(RotatingJsonlSink(self.jsonl, round(self.rotate_mb * 1e6)))
        if self.csv is not None:
            sinks.append(CsvSink(self.csv))
        if self.save is not None:
            images = len(source.paths) if isinstance(source, ImageSource) else None
            rate = source.fps or _NO_RATE
            sinks.append(annotated_sink(self.save, rate, images, timed=source.live))
        if self.review is not None:
            sinks.append(ReviewSink(self.review))
        return sinks


SINKS = Group(
    SinkOptions,
    Option("jsonl", "--jsonl", Path, "Write one JSON object a verdict here."),
    Option(
        "rotate_mb",
        "--rotate-mb",
        float,
        "Append to --jsonl, and rotate it at this.",
        min=0.001,
        only=(present("jsonl"),),
    ),
    Option("csv", "--csv", Path, "Write a table of verdicts."),
    Option("save", "--save", Path, "Annotated video (.mp4, .avi), image, or folder of images."),
    Option("review", "--review", Path, "Folder for pictures to review, and unknowns."),
)
