"""Triggers of a GenICam camera through the whole product: none missed, none judged twice.

    python benchmarks/triggered_camera.py [--triggers 10000] [--fps 100]

Starts the fake GigE Vision camera that comes with Aravis (`arv-fake-gv-camera-0.8`) on the loopback
and sends it software triggers, each when the last one's verdict is there; the shipped bundle judges
every frame. A trigger is answered with the number of its frame, and the verdict on that frame must
bear it. The camera draws its own count into each picture (grey levels, modulo 255), so that a
picture that answers another trigger than its number says would show. Frames that were lost on the
way are told and not replaced. `source_ms` is the time from a frame's first packet to the consumer's
having it as BGR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from measured import circumstances

from vision_edge.runtime import (
    Gallery,
    asset,
    classifier_for,
    load_bundle,
    open_session,
    register,
    verdicts,
)
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.frame import Frame
from vision_edge.runtime.sources.live import LiveSettings, LiveSource

CAMERA = "arv-fake-gv-camera-0.8"
PATIENCE = 2.0


class Triggered:
    """A live source that asks for each frame, and notes how long it was on its way.

    Args:
        camera: With `trigger=Software`.
        triggers: How many to send.
    """

    live = True
    fps: float | None = None

    def __init__(self, camera: LiveSource, triggers: int) -> None:
        self.camera, self.triggers, self.name = camera, triggers, camera.name
        self.on_the_way: list[float] = []
        self.fired: list[int] = []
        self.drawn: set[int] = set()
        self.unanswered = 0

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frame of each trigger."""
        last = -1
        for _ in range(self.triggers):
            lost = self.camera.lost
            number = self.camera.fire()
            until = time.monotonic() + PATIENCE
            while (frame := self.camera.newer_than(last)) is None:
                if self.camera.lost > lost or time.monotonic() > until:
                    break
                time.sleep(0.0005)
            if frame is None:
                self.unanswered += self.camera.lost == lost
                continue
            self.on_the_way.append(time.monotonic() - frame.captured)
            last = frame.number
            self.fired.append(number)
            self.drawn.add((int(frame.image[0, 0, 0]) - number) % 255)
            yield frame

    def close(self) -> None:
        """Let the camera go."""
        self.camera.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--fps", type=float, default=100.0, help="the most that the camera answers")
    args = parser.parse_args()
    process = subprocess.Popen([CAMERA, "-i", "127.0.0.1", "-s", "BENCH"])
    try:
        while not any(device.serial == "BENCH" for device in aravis.devices()):
            time.sleep(0.1)
        print(json.dumps({**circumstances(), **measured(args.triggers, args.fps)}, indent=2))
    finally:
        process.kill()


def measured(triggers: int, fps: float) -> dict[str, object]:
    """Send the triggers and return what came of them."""
    session = open_session(load_bundle(asset("bundle")), "cpu")
    address = f"genicam://BENCH?fps={fps:g}&trigger=Software&pixel_format=Mono8"
    with (
        tempfile.TemporaryDirectory() as name,
        Gallery(Path(name) / "g", session.bundle.manifest.identity, create=True) as gallery,
    ):
        for index, scene in enumerate(generated_scenes(2, 320)):
            file = Path(name) / f"{index}.png"
            cv2.imwrite(str(file), scene)
            register(gallery, session, f"product {index}", [file])
        classifier = classifier_for(gallery, session)
        source = Triggered(LiveSource(address, "camera", LiveSettings(stale_after=10)), triggers)
        started = time.monotonic()
        try:
            frames = [verdict.frame for _, verdict in verdicts(source, session, classifier)]
        finally:
            source.close()
        seconds = time.monotonic() - started
    times = 1000 * np.array(source.on_the_way)
    return {
        "triggers": triggers,
        "verdicts": len(frames),
        "judged twice": len(frames) - len(set(frames)),
        "lost on the wire, and told": source.camera.lost,
        "missed and not told": triggers - len(frames) - source.camera.lost,
        "not of the trigger's number": sum(
            a != b for a, b in zip(frames, source.fired, strict=False)
        ),
        "pictures of another trigger": max(len(source.drawn) - 1, 0),
        "out of order": int(np.sum(np.diff(frames) < 1)),
        "source_ms": {"median": float(np.median(times)), "p95": float(np.percentile(times, 95))},
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
