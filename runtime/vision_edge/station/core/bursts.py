"""A burst of a station's source: what its line shows while a part is turned before it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.burst import KEPT, Burst
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.recognition.view_selection import differing
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.errors import NoFrameError
from vision_edge.station.core.source_line import Line

LOOK_EVERY = 0.01
"""Seconds between two looks at whether there is a new frame."""


def take_burst(
    line: Line, seconds: float, embedder: Embedder, stopped: Callable[[], bool]
) -> list[Frame]:
    """Gather a line's frames for some seconds; return the few that are worth keeping.

    Args:
        line: The source, which goes on with its verdicts.
        seconds: How long.
        embedder: The model of the moment.
        stopped: Whether the station stops, which ends the burst.

    Returns:
        At most five frames, the one first that is nearest to all.

    Raises:
        NoFrameError: If the source showed nothing new.
        RegistrationError: If no frame of it can be registered.
    """
    burst = Burst(seconds, line.locator)
    began, last = time.monotonic(), line.latest
    while (second := time.monotonic() - began) < seconds and not stopped():
        frame = line.latest
        if frame is not None and frame is not last:
            burst.add(frame, second)
            last = frame
        time.sleep(LOOK_EVERY)
    if not burst.frames:
        raise NoFrameError(
            f"source {line.name!r} showed nothing new for {seconds:g} s (it is {line.state})",
            fix="check its cable, power and network",
        )
    pictures, frames = burst.pictures(), burst.kept_frames()
    vectors = np.stack([embed_snapshot(embedder, picture.image) for picture in pictures])
    return [frames[row] for row in differing(vectors, KEPT)]
