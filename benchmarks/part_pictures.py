"""Draw the picture of docs/how-to/parts.md: rendered parts, found, named and annotated.

python benchmarks/part_pictures.py docs/images/several-parts.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vision_edge.demo.belt import Belt
from vision_edge.demo.settings import ConveyorConfig
from vision_edge.demo.sprites import part_sprite
from vision_edge.runtime import Presence, PrototypeClassifier, load_bundle, open_session
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.pipeline.located_verdicts import located_verdicts
from vision_edge.runtime.pipeline.registration import read_picture
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sinks.annotated import annotate
from vision_edge.runtime.sources.frame import Frame

NAMES = ("hex_nut", "pipe_elbow", "spur_gear", "flange")
STRANGER = "star_knob"
CONFIG = ConveyorConfig(seed=3, width=960, height=480)


def belt(labels: tuple[str, ...], step: int, seed: int, offset: int) -> Frame:
    """Return a frame of the belt with parts side by side."""
    canvas = Belt(CONFIG).view(offset)
    for number, label in enumerate(labels):
        sprite = part_sprite(label, 190, np.random.default_rng(seed + number))
        top = 240 - sprite.cover.shape[0] // 2 + (number % 2) * 36 - 18
        sprite.blend(canvas, 30 + step * number - sprite.box[0], top)
    return Frame(canvas, "belt", 0, 0.0)


class One:
    """A source of one frame."""

    name, live, fps = "belt", False, None

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __iter__(self):  # type: ignore[no-untyped-def]
        yield self.frame

    def close(self) -> None:
        """Nothing to release."""


def drawn() -> Image:
    """Return the annotated picture."""
    session = open_session(load_bundle(asset("bundle")), "cpu")
    empty = belt((), 0, 0, 0).image
    snapshots = [
        read_picture(belt((name,), 0, k, 50), Presence(empty)) for k, name in enumerate(NAMES)
    ]
    vectors = np.stack([embed_snapshot(session, snapshot.image) for snapshot in snapshots])
    cohort = Cohort(session.bundle.cohort, from_station=False)
    classifier = PrototypeClassifier(list(NAMES), vectors, cohort.embeddings.mean(axis=0), cohort)
    frame = belt((*NAMES, STRANGER), 182, 0, 400)
    ((_, verdict),) = located_verdicts(One(frame), session, classifier, lambda: Presence(empty))
    return annotate(frame.image, verdict)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(encode_jpeg(drawn(), quality=82))
