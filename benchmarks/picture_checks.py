"""What it costs to be sure of a picture: decoding with all checks against OpenCV alone.

    python benchmarks/picture_checks.py [--repeats 20]

Generated pictures of two sizes in the kinds that devices meet. The ratio is of two medians taken in
turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from measured import circumstances

from vision_edge.runtime.images.coding import decode_image

SIZES = ((640, 480), (4000, 3000))
KINDS = (".jpg", ".png", ".webp", ".tiff", ".bmp")


def scene(width: int, height: int) -> np.ndarray:
    """Return a smooth picture with a sensor's noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    rows = []
    for width, height in SIZES:
        image = scene(width, height)
        for kind in KINDS:
            data = cv2.imencode(kind, image)[1].tobytes()
            buffer = np.frombuffer(data, np.uint8)
            pairs = [
                (
                    seconds(lambda b=buffer: cv2.imdecode(b, cv2.IMREAD_COLOR)),
                    seconds(lambda d=data: decode_image(d, "x")),
                )
                for _ in range(repeats)
            ]
            alone, checked = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows.append(
                {
                    "picture": f"{width}x{height} {kind}",
                    "opencv_ms": round(1000 * alone, 2),
                    "checked_ms": round(1000 * checked, 2),
                    "ratio": round(checked / alone, 2),
                }
            )
    print(json.dumps({**circumstances(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
