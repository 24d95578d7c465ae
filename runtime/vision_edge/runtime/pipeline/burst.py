"""A burst: a few seconds of a part that is turned, and the pictures of it that are worth keeping.

The seconds are cut into as many slots as pictures are looked at; of each slot the sharpest picture
that the quality gate passes counts, so that a blur in between is left out and memory is bounded.
Of those the few are kept that stand for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vision_edge.runtime.errors import RegistrationError, VisionEdgeError
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.images.quality import Finding, picture_sharpness
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.registration import Picture, read_picture, snapshot_from
from vision_edge.runtime.recognition.view_selection import differing
from vision_edge.runtime.sources.frame import Frame, Source

SLOTS = 12
"""Pictures of a burst that are looked at."""
KEPT = 5
"""Pictures of a burst that are kept at most: from three on, more add little."""
SHORTEST, LONGEST = 0.5, 60.0
"""Seconds that a burst may last."""


@dataclass
class Burst:
    """Gathers the pictures of a burst.

    Attributes:
        seconds: How long it lasts.
        locator: Finds the part: then only a whole one counts, and is cut out.
        force: Whether pictures count whatever the quality gate finds.
        frames: Frames seen.
        findings: What was wrong with those that do not count, by kind: the first, and how many.
    """

    seconds: float
    locator: Locator | None = None
    force: bool = False
    frames: int = 0
    findings: dict[str, tuple[Finding, int]] = field(default_factory=dict)
    _slots: dict[int, tuple[float, Picture, Frame]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise VisionEdgeError(
                f"a burst lasts from {SHORTEST:g} to {LONGEST:g} seconds; got {self.seconds:g}",
                fix="3 to 5 seconds are enough to turn a part once",
            )

    def add(self, frame: Frame, second: float) -> None:
        """Take in a frame, `second` seconds after the burst began."""
        self.frames += 1
        slot = min(SLOTS - 1, int(SLOTS * second / self.seconds))
        sharp = picture_sharpness(frame.image)
        if slot in self._slots and sharp <= self._slots[slot][0]:
            return
        picture = read_picture(frame, self.locator)
        if picture.findings and not self.force:
            first = picture.findings[0]
            known, count = self.findings.get(first.kind, (first, 0))
            self.findings[first.kind] = (known, count + 1)
            return
        self._slots[slot] = (sharp, picture, frame)

    def pictures(self) -> list[Picture]:
        """Return the sharpest picture of each slot, in order.

        Raises:
            RegistrationError: If there is none, with what was wrong with most.
        """
        if not self._slots:
            raise self._refusal()
        return [self._slots[slot][1] for slot in sorted(self._slots)]

    def kept_frames(self) -> list[Frame]:
        """Return the whole frames of `pictures`."""
        return [self._slots[slot][2] for slot in sorted(self._slots)]

    def _refusal(self) -> RegistrationError:
        if not self.findings:
            return RegistrationError("the burst has no frames", fix="check the source")
        finding, count = max(self.findings.values(), key=lambda found: found[1])
        if finding.kind == "several":
            message = f"{count} of the burst's {self.frames} frame(s) show several parts"
            return RegistrationError(message, fix="leave the one that is meant alone in view")
        return RegistrationError(
            f"none of the burst's {self.frames} frame(s) can be registered; {count} of them as "
            f"the first: {finding.message}",
            fix=finding.fix,
        )


def take_burst(source: Source, burst: Burst, settle: int = 5, after: float = 0.0) -> list[Picture]:
    """Take a burst: of a live source, after `settle` frames; of a video, its first seconds.

    Args:
        source: The source.
        burst: Takes the frames in.
        settle: Frames of a live source to let pass.
        after: Time of `time.monotonic` before which no frame counts: when a key was pressed.

    Raises:
        RegistrationError: If no frame can be registered.
    """
    start: float | None = None
    for index, frame in enumerate(source):
        if source.live and (index < settle or frame.captured < after):
            continue
        now = frame.captured if source.live else frame.number / (source.fps or 25.0)
        start = now if start is None else start
        if now - start >= burst.seconds:
            break
        burst.add(frame, now - start)
    return burst.pictures()


def worth_keeping(pictures: Iterable[Picture], embedder: Embedder) -> list[Snapshot]:
    """Return the few pictures of a burst that stand for all, as snapshots, in order.

    Args:
        pictures: What `Burst.pictures` returned, at least one.
        embedder: A session, or anything like it.
    """
    snapshots = [snapshot_from(picture, embedder) for picture in pictures]
    embeddings = np.stack([snapshot.embedding for snapshot in snapshots])
    return [snapshots[row] for row in sorted(differing(embeddings, KEPT))]
