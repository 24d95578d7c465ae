"""Which files of the runtime a frame enters from its source to its verdict's sink, and how often.

    python benchmarks/one_frame.py [--pictures 12]

The shipped bundle, two products, a folder of generated pictures, verdicts as JSON lines. The walk
begins with the second picture: what is imported and opened once is not of it. A move is a call from
one file of ours into another.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import cv2

from vision_edge.runtime import (
    Gallery,
    JsonlSink,
    Sinks,
    asset,
    classifier_for,
    load_bundle,
    open_session,
    open_source,
    register,
    verdicts,
)
from vision_edge.runtime.images.generated_scenes import generated_scenes

ROOM = "/vision_edge/"


class Walk:
    """Counts calls into each file of the package, in every thread."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.moves = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of `sys.setprofile`."""
        name = frame.f_code.co_filename
        if event != "call" or ROOM not in name:
            return
        self.files[name.split(ROOM, 1)[1]] += 1
        before = frame.f_back.f_code.co_filename if frame.f_back else ""
        self.moves += ROOM in before and before != name

    def stop(self) -> None:
        """Stop counting."""
        sys.setprofile(None)
        threading.setprofile(None)


def walk(folder: Path, count: int) -> Walk:
    """Return the walk of `count` pictures."""
    scenes = generated_scenes(count + 1, 320)
    (folder / "frames").mkdir()
    for number, scene in enumerate(scenes):
        cv2.imwrite(str(folder / "frames" / f"{number:03d}.png"), scene)
    session = open_session(load_bundle(asset("bundle")), "cpu")
    walked = Walk()
    with Gallery(folder / "g", session.bundle.manifest.identity, create=True) as gallery:
        for number in range(2):
            register(gallery, session, f"product {number}", [folder / f"frames/{number:03d}.png"])
        classifier = classifier_for(gallery, session)
    threading.setprofile(walked)  # the thread that reads ahead begins with the first verdict
    with Sinks(JsonlSink(folder / "v.jsonl")) as sinks:
        for index, (frame, verdict) in enumerate(
            verdicts(open_source(str(folder / "frames")), session, classifier)
        ):
            sinks.write(frame, verdict)
            if index == 0:
                sys.setprofile(walked)
    walked.stop()
    return walked


def main() -> None:
    """Print the walk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        walked = walk(Path(folder), args.pictures)
    for name, calls in sorted(walked.files.items()):
        print(f"{calls:6d}  {name}")
    print(f"{len(walked.files)} files, {walked.moves} moves for {args.pictures} pictures")


if __name__ == "__main__":
    main()
