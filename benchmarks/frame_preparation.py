"""How long a frame takes to be prepared for the model, and how far its pixels are from before.

    python benchmarks/frame_preparation.py [--rounds 40]

On one core, beside what was done before in the same run: the middle copied out, all of it reduced
by OpenCV, the centre cut out of that. Random pixels, the hardest there are for a reduction.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.images.crops import FRAME_CROP, cropped, middle
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare

SIZES = (
    (160, 120), (320, 240), (321, 241), (640, 480), (800, 600), (1280, 720), (720, 1280),
    (1279, 719), (1920, 1080), (2592, 1944), (3840, 2160),
)  # fmt: skip


def before(image: Image, size: int) -> Image:
    """Return what was prepared until now: uint8 (size, size, 3)."""
    part = cropped(image, FRAME_CROP)
    height, width = part.shape[:2]
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    kernel = cv2.INTER_AREA if target[0] < width else cv2.INTER_CUBIC
    resized = cv2.resize(part, target, interpolation=kernel)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


def quickest(work: Callable[[], object], rounds: int) -> float:
    """Return the least milliseconds that it took."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def main() -> None:
    """Print a row a size of the frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng, spec = np.random.default_rng(0), PreprocessSpec(size=args.size)
    print("frame       before ms  now ms  times  most levels apart")
    for width, height in SIZES:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        now, then = prepare(middle(image, FRAME_CROP), spec), before(image, args.size)
        apart = int(np.abs(now.astype(int) - then).max())
        old = quickest(lambda image=image: before(image, args.size), args.rounds)  # type: ignore[misc]
        new = quickest(
            lambda image=image: prepare(middle(image, FRAME_CROP), spec),  # type: ignore[misc]
            args.rounds,
        )
        print(f"{width:4d}x{height:<5d} {old:10.2f} {new:7.2f} {old / new:6.1f} {apart:6d}")


if __name__ == "__main__":
    main()
