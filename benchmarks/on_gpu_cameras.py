"""Many cameras on one session: how many verdicts a second, and how old they are.

The cameras are threads that hand over frames already decoded, at their own rate, as a reader thread
hands over the newest frame: what comes while the last one is judged is dropped, and a frame's age
counts from when it was due. Each goes through the runtime's own `verdicts`, and all share the
station's own `Model`, which puts what waits into one batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.live_model import Model

WARM_S = 1.5
"""Seconds of each stretch that are not counted: CUDA graphs and buffers are made in them."""


class DecodedCamera:
    """A live source of frames in memory.

    Args:
        frames: What it shows, over and over.
        fps: Frames a second; None hands out the next frame as soon as it is asked for.
        seconds: How long it runs.
        phase: Which part of a period it begins later by, 0 to 1.
        offset: Its first frame.
    """

    live = True

    def __init__(
        self, frames: list[Image], fps: float | None, seconds: float, phase: float, offset: int
    ) -> None:
        self.name, self.fps = f"camera-{offset}", fps
        self.handed, self.dropped = 0, 0
        self._frames, self._seconds = frames, seconds
        self._phase, self._offset = phase, offset

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames; `number` is the frame's place among those that it shows."""
        period = 0.0 if self.fps is None else 1.0 / self.fps
        due = time.monotonic() + self._phase * period
        end = time.monotonic() + self._seconds
        number = self._offset
        while (now := time.monotonic()) < end:
            late = int((now - due) / period) if period and now > due else 0
            self.dropped += late
            due, number = due + late * period, number + late
            if now < due:
                time.sleep(due - now)
            captured = due if period else time.monotonic()
            place = number % len(self._frames)
            self.handed += 1
            yield Frame(self._frames[place], self.name, place, captured)
            due, number = due + period, number + 1

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class Watched:
    """What came of one camera."""

    camera: DecodedCamera
    found: list[tuple[float, Verdict]] = field(default_factory=list)
    error: Exception | None = None

    def watch(self, model: Model) -> None:
        """Judge until the camera ends; runs in a thread of its own."""
        try:
            for _, verdict in verdicts(self.camera, model, model):
                self.found.append((time.monotonic(), verdict))
        except Exception as error:
            self.error = error


def cameras(
    session: Session,
    classifier: PrototypeClassifier,
    frames: list[Image],
    expected: list[Verdict],
    *,
    count: int,
    fps: float | None,
    seconds: float,
) -> dict[str, Any]:
    """Let several cameras run, and compare each verdict with the expected one of its frame.

    Args:
        session: The session that all share.
        classifier: Over the registered products.
        frames: uint8 (H, W, 3), BGR, each.
        expected: The CPU's verdict on each frame.
        count: How many cameras.
        fps: Of each; None for as many as they can.
        seconds: How long they run.
    """
    model = Model(session)
    model.classifier = classifier
    began = time.monotonic()
    watched = [
        Watched(DecodedCamera(frames, fps, WARM_S + seconds, k / count, 3 * k))
        for k in range(count)
    ]
    threads = [threading.Thread(target=one.watch, args=(model,)) for one in watched]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [str(one.error) for one in watched if one.error is not None]
    from_ = began + WARM_S
    counted = [v for one in watched for at, v in one.found if from_ <= at < from_ + seconds]
    return {
        "cameras": count,
        "fps_each": fps,
        "verdicts_per_s": round(len(counted) / seconds, 1),
        "dropped": sum(one.camera.dropped for one in watched),
        **_ages([verdict.age_ms for verdict in counted]),
        **compared(counted, [expected[verdict.frame] for verdict in counted]),
        **({"errors": errors[:3]} if errors else {}),
    }


def _ages(ages: list[float]) -> dict[str, float]:
    if not ages:
        return {}
    return {f"age_p{q}_ms": round(float(np.percentile(ages, q)), 2) for q in (50, 95, 99)}


def compared(got: list[Verdict], expected: list[Verdict]) -> dict[str, Any]:
    """Compare verdicts one by one: the same answer, and how far the scores are apart."""
    pairs = list(zip(got, expected, strict=True))
    same = sum(g.decision.label == e.decision.label for g, e in pairs)
    nearest = sum(g.decision.nearest == e.decision.nearest for g, e in pairs)
    apart = max((abs(g.decision.score - e.decision.score) for g, e in pairs), default=0.0)
    return {
        "verdicts": len(pairs),
        "same_answer": same,
        "same_nearest": nearest,
        "score_apart": round(apart, 6),
    }
