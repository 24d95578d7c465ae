"""Age of a verdict, glass to verdict, from a local RTSP server at 30 frames a second.

    python benchmarks/glass_to_verdict.py --shared ../shared

The server writes the time into each picture (tests/support/rtsp_server.py), so the age is true:
from drawing over encoding, network, decoding and the model to the verdict. Needs GStreamer's RTSP
server.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from features import vit_tiny_session
from measured import circumstances

from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sources.grabber import Backend, GrabberOptions
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import rtsp

BACKENDS: tuple[Backend, ...] = ("opencv", "gstreamer")


def ages(address: str, backend: Backend, session: Session, count: int) -> dict[str, float]:
    """Return the true ages of `count` verdicts, in milliseconds."""
    bundle = session.bundle
    cohort = Cohort(bundle.cohort, from_station=False)
    classifier = PrototypeClassifier(["a", "b"], bundle.cohort[:2], bundle.centre, cohort)
    live = LiveSettings(grabber=GrabberOptions(backend=backend))
    source = open_source(address, live=live)
    found: list[float] = []
    first = last = 0
    for frame, _ in verdicts(source, session, classifier):
        now = time.monotonic() * 1000
        drawn = rtsp.drawn_ms(frame.image)
        if drawn is not None:
            found.append((now - drawn) % 2**32)
        first, last = first or frame.number, frame.number
        if len(found) >= count:
            break
    source.close()
    return {
        "verdicts": len(found),
        "frames_passed": last - first + 1,
        "median_ms": round(float(np.median(found)), 1),
        "p95_ms": round(float(np.percentile(found, 95)), 1),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".out/features"))
    parser.add_argument("--verdicts", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    session = vit_tiny_session(args.shared, args.cache)
    server = rtsp.Server()
    try:
        figures = {b: ages(server.address(), b, session, args.verdicts) for b in BACKENDS}
    finally:
        server.kill()
    document = {**circumstances(), "two_frame_periods_ms": 66.7, "figures": figures}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "glass_to_verdict.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
