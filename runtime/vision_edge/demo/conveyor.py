"""A conveyor belt with industrial parts, rendered, and the truth about every frame.

A factory line without a factory: for demonstrations, end-to-end tests and benchmarks. Nothing in
it was filmed; every frame says "RENDERED". Everything follows from the seed, and any frame can be
had without those before it.

Examples:
    >>> line = Conveyor(ConveyorConfig(seed=3), parts=("hex_nut", "washer"), length=300)
    >>> frame, truth = line[120]
    >>> frame.shape, truth.frame
    ((480, 640, 3), 120)
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from vision_edge.demo.machine_parts import PART_NAMES, check_label
from vision_edge.demo.rendered_line import Conveyor, belt_and_camera, part_truth
from vision_edge.demo.schedule import PartPass
from vision_edge.demo.settings import (
    ConveyorConfig,
    FrameTruth,
    PartTruth,
    inspection_window,
    window_side,
)
from vision_edge.demo.sprites import Image, part_sprite
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.system.files import atomic_file

__all__ = [
    "PART_NAMES",
    "Conveyor",
    "ConveyorConfig",
    "FrameTruth",
    "PartTruth",
    "inspection_window",
    "render_snapshot",
    "truth_path",
    "write_video",
]

_SNAPSHOT = 33


def render_snapshot(label: str, seed: int, config: ConveyorConfig) -> tuple[Image, PartTruth]:
    """Take the picture with which an operator registers a part.

    The belt stands still, and the part lies about the middle of the inspection window, in its
    own rotation and light. The picture is cut from a frame whose watermark lies outside of it.

    Args:
        label: One of `PART_NAMES`.
        seed: Which snapshot of it: pose, place on the belt, light, noise; at least 0.
        config: The line, which gives the belt, the lamps and the sizes.

    Returns:
        `(crop, truth)`: the inspection window, uint8 BGR `(side, side, 3)`, and the part in it,
        its box in pixels of the crop and its `instance` -1.

    Raises:
        ValueError: If `label` names no part or `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed!r}; choose a value in that range")
    side = window_side(config)
    rng = np.random.default_rng((seed, _SNAPSHOT, PART_NAMES.index(check_label(label))))
    moment = int(rng.integers(0, round(3600 * config.fps)))
    sprite = part_sprite(label, side, rng, lamps=1)
    belt, camera = belt_and_camera(config)
    canvas = belt.view(int(rng.integers(0, 1 << 20)))
    dx, dy = (round(float(d) * side) for d in rng.uniform(-0.02, 0.02, 2))
    rows, columns = sprite.cover.shape
    corner = (config.width // 2 + dx - columns // 2, config.height // 2 + dy - rows // 2)
    sprite.blend(canvas, *corner)
    image = camera.expose(canvas, moment, stream=1 + seed)
    found = part_truth(PartPass(-1, label, 0), sprite, corner, config, None)
    assert found is not None, "a part in the middle of the frame is in the frame"
    x0, y0, x1, y1 = inspection_window(config)
    box = found.bbox
    moved = (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0)
    return np.ascontiguousarray(image[y0:y1, x0:x1]), replace(found, bbox=moved)


def truth_path(video: Path) -> Path:
    """Where the truth of a video lies: `<video>.truth.jsonl`, beside it."""
    return video.with_name(video.name + ".truth.jsonl")


def write_video(path: str | Path, conveyor: Conveyor, n_frames: int | None = None) -> Path:
    """Write a video and, beside it, one JSON object a frame with the fields of `FrameTruth`.

    Both files appear when complete; an interrupted run leaves neither.

    Args:
        path: Where to, a name that ends in `.mp4`.
        conveyor: What to film.
        n_frames: Frames from the first one on; all of them if None.

    Returns:
        Path of the truth file.

    Raises:
        ValueError: If `path` does not end in `.mp4`, or `n_frames` is not from 1 to
            `len(conveyor)`.
        SourceError: If OpenCV cannot write MPEG-4 video there.
        OSError: If the files cannot be written.
    """
    path = Path(path)
    count = len(conveyor) if n_frames is None else n_frames
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4, got {str(path)!r}; MPEG-4 is what is written")
    if not 1 <= count <= len(conveyor):
        raise ValueError(
            f"n_frames must be from 1 to {len(conveyor)}, got {count!r}; make the conveyor longer"
        )
    truth = truth_path(path)
    with atomic_file(truth) as rows, atomic_file(path) as film:
        _record(film, rows, conveyor, count)
    return truth


def _record(film: Path, rows: Path, conveyor: Conveyor, count: int) -> None:
    """Write `count` frames to `film` and their truth to `rows`."""
    config = conveyor.config
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(film), codec, config.fps, (config.width, config.height))
    try:
        if not writer.isOpened():
            raise SourceError(
                f"OpenCV {cv2.__version__} cannot write MPEG-4 video to {film.parent}",
                fix="check that the folder is writable; pip wheels of OpenCV bring the codec",
            )
        with rows.open("w", encoding="utf-8") as stream:
            for image, truth in conveyor.frames(0, count):
                writer.write(image)
                stream.write(json.dumps(asdict(truth)) + "\n")
    finally:
        writer.release()
    if film.stat().st_size == 0:
        raise SourceError(f"OpenCV {cv2.__version__} wrote no video", fix="install opencv-python")
