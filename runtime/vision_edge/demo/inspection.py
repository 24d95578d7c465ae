"""Inspecting a line: every frame located, embedded, judged, drawn; one verdict a part."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vision_edge.demo.picture import annotate_frame
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.contact_sheet import AMBER, GREEN, WHITE
from vision_edge.runtime.images.presence import Box, Presence, crop_around
from vision_edge.runtime.images.video_writer import VideoWriter
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.part_consensus import PartVerdict, Passages
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.sources.frame import Frame


@dataclass
class Inspection:
    """What came of it.

    Attributes:
        verdicts: One a part.
        evidence: The crop of each verdict's best frame, uint8 (S, S, 3) BGR.
        frames: Frames seen.
        judged: Frames with a part wholly in view, which were embedded.
        model_seconds: Spent in the model.
        seconds: Spent in locating, embedding and judging, without decoding and drawing.
    """

    verdicts: list[PartVerdict] = field(default_factory=list)
    evidence: list[Image] = field(default_factory=list)
    frames: int = 0
    judged: int = 0
    model_seconds: float = 0.0
    seconds: float = 0.0


class Inspector:
    """Inspects the frames of one line.

    Args:
        session: The model.
        classifier: The registered products.
        presence: Knows the empty inspection window.
        window: The inspection window in a frame.
    """

    def __init__(
        self, session: Session, classifier: PrototypeClassifier, presence: Presence, window: Box
    ) -> None:
        self._session = session
        self._classifier = classifier
        self._presence = presence
        self._window = window
        self._passages = Passages(classifier)
        self._crops: dict[int, Image] = {}
        self._headline: tuple[str, tuple[int, int, int]] = ("", WHITE)
        self.result = Inspection()

    def inspect(self, frames: Iterable[Frame], video: Path | None, fps: float) -> Inspection:
        """Inspect frames to their end.

        Args:
            frames: In order.
            video: Where to write the annotated video, if anywhere.
            fps: Its rate.
        """
        writer = VideoWriter(video, fps) if video is not None else None
        try:
            for frame in frames:
                picture = self._step(frame)
                if writer is not None:
                    writer.write(picture)
            self._take(list(self._passages.finish()))
        finally:
            if writer is not None:
                writer.close()
        return self.result

    def _step(self, frame: Frame) -> Image:
        """Judge one frame and return it annotated."""
        began = time.monotonic()
        x0, y0, x1, y1 = self._window
        view = frame.image[y0:y1, x0:x1]
        found = self._presence.find(view)
        embedding = None
        if found is not None and found.complete:
            crop = crop_around(view, found.box)
            self._crops[frame.number] = crop
            model = time.monotonic()
            embedding = embed_frame(self._session, crop)
            self.result.model_seconds += time.monotonic() - model
            self.result.judged += 1
            (decision,) = self._classifier.classify(embedding)
            self._headline = (
                f"{decision.label or 'unknown'}  {decision.score:.2f}",
                GREEN if decision.known else AMBER,
            )
        self._take(list(self._passages.add(frame.number, embedding)))
        self.result.frames += 1
        self.result.seconds += time.monotonic() - began
        box = None
        if embedding is not None and found is not None:
            a, b, c, d = found.box
            box = (a + x0, b + y0, c + x0, d + y0)
        headline, colour = self._headline if box else ("no part wholly in the window", WHITE)
        footer = f"frame {frame.number}"
        return annotate_frame(frame.image, self._window, box, headline, colour, footer)

    def _take(self, verdicts: list[PartVerdict]) -> None:
        for verdict in verdicts:
            self.result.verdicts.append(verdict)
            self.result.evidence.append(self._crops[verdict.evidence])
            self._crops = {n: c for n, c in self._crops.items() if n > verdict.last}
