"""Inspecting a line: every frame located, embedded, judged, drawn; one verdict a part."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vision_edge.demo.picture import Mark, annotate_frame
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.contact_sheet import AMBER, GREEN, WHITE
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.part_outlines import Box
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.images.video_writer import VideoWriter
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.part_tracking import PartTracker, Sighting
from vision_edge.runtime.recognition.prototypes import Decision, PrototypeClassifier
from vision_edge.runtime.sources.frame import Frame


@dataclass
class Inspection:
    """What came of it.

    Attributes:
        verdicts: One a part.
        evidence: The crop of each verdict's best frame, uint8 (S, S, 3) BGR.
        frames: Frames seen.
        judged: Parts in frames that were embedded.
        at_once: Most parts that were wholly in view at once.
        crowded: The first such frame, annotated; None where no part was seen.
        model_seconds: Spent in the model.
        seconds: Spent in locating, embedding and judging, without decoding and drawing.
    """

    verdicts: list[PartVerdict] = field(default_factory=list)
    evidence: list[Image] = field(default_factory=list)
    frames: int = 0
    judged: int = 0
    model_seconds: float = 0.0
    seconds: float = 0.0
    at_once: int = 0
    crowded: Image | None = None


def line_presence(empty: Image) -> Presence:
    """Return what knows a line's empty view, where parts lie apart.

    None is cut in two at its own necks, as parts that touch are: a wing nut was four parts.
    """
    return Presence(empty, touching=False)


class Inspector:
    """Inspects the frames of one line.

    Args:
        session: The model.
        classifier: The registered products.
        presence: Knows the empty view.
        window: What of a frame is looked at.
    """

    def __init__(
        self, session: Session, classifier: PrototypeClassifier, presence: Presence, window: Box
    ) -> None:
        self._session = session
        self._classifier = classifier
        self._presence = presence
        self._window = window
        self._parts = PartTracker(classifier)
        self._crops: dict[tuple[int, Box], Image] = {}
        self._said = ""
        self.result = Inspection()

    def inspect(self, frames: Iterable[Frame], video: Path | None, fps: float) -> Inspection:
        """Inspect frames to their end.

        Args:
            frames: In order.
            video: Where to write the annotated video, if anywhere.
            fps: Its rate, and that of the frames.
        """
        writer = VideoWriter(video, fps) if video is not None else None
        try:
            for frame in frames:
                picture = self._step(frame, frame.number / fps)
                if writer is not None:
                    writer.write(picture)
            self._take(self._parts.finish())
        finally:
            if writer is not None:
                writer.close()
        return self.result

    def _step(self, frame: Frame, at: float) -> Image:
        """Judge one frame and return it annotated."""
        began = time.monotonic()
        x0, y0, x1, y1 = self._window
        view = frame.image[y0:y1, x0:x1]
        found = self._presence.find_all(view)
        wanted = self._parts.needs([one.box for one in found], at)
        judged = [one for one, needed in zip(found, wanted, strict=True) if one.complete and needed]
        scene = self._presence.scene
        crops = {one.box: crop_alone(view, one, found, scene) for one in judged}
        vectors = self._embedded(frame, crops)
        seen = [Sighting(one.box, vectors.get(one.box)) for one in found]
        self._take(self._parts.look(frame.number, at, seen, (x1 - x0, y1 - y0)))
        self.result.frames += 1
        self.result.seconds += time.monotonic() - began
        marks = [self._mark(box, decision) for box, decision, _ in self._parts.in_view(at)]
        footer = f"frame {frame.number}, {len(found)} in view"
        picture = annotate_frame(frame.image, self._window, marks, self._said, footer)
        whole = sum(one.complete for one in found)
        if whole > self.result.at_once:
            self.result.at_once, self.result.crowded = whole, picture
        return picture

    def _embedded(self, frame: Frame, crops: dict[Box, Image]) -> dict[Box, Embeddings]:
        """Embed parts, all of a frame together, and keep their pictures."""
        if not crops:
            return {}
        spec = self._session.spec
        self._crops |= {(frame.number, box): crop for box, crop in crops.items()}
        prepared = np.stack([prepare(cropped(crop, FRAME_CROP), spec) for crop in crops.values()])
        model = time.monotonic()
        vectors = self._session.embed(prepared)
        self.result.model_seconds += time.monotonic() - model
        self.result.judged += len(crops)
        return dict(zip(crops, vectors, strict=True))

    def _mark(self, box: Box, decision: Decision | None) -> Mark:
        """Return what is drawn of a part, in pixels of the frame."""
        x0, y0 = self._window[:2]
        place = (box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0)
        if decision is None:
            return Mark(place, "", WHITE)
        words = f"{decision.label or 'unknown'} {decision.score:.2f}"
        return Mark(place, words, GREEN if decision.known else AMBER)

    def _take(self, verdicts: list[PartVerdict]) -> None:
        for verdict in verdicts:
            assert verdict.box is not None
            self.result.verdicts.append(verdict)
            self.result.evidence.append(self._crops[verdict.evidence, verdict.box])
            decision = verdict.decision
            self._said = f"part {verdict.number}: {decision.label or 'unknown'}"
        if not self._parts.counts.in_view:
            self._crops.clear()
