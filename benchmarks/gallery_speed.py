"""Ten thousand products: a query with open set, opening, and registering one more.

    python benchmarks/gallery_speed.py

One core; random embeddings of D = 192 about a common offset. The cohort has 600 impostors. A query
is `classify` of one embedding; registering is what comes after the inference, fsync and all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measured import circumstances

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort

DIM = 192
MODEL = ModelIdentity("f" * 64, DIM)
JPEG_BYTES = 20_000


def milliseconds(action: Callable[[int], object], repeats: int) -> float:
    """Return the median time of an action, called with its number."""
    times = []
    for number in range(repeats):
        started = time.perf_counter()
        action(number)
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 3)


def snapshots(rng: np.random.Generator, count: int) -> list[Snapshot]:
    """Return snapshots of random bytes and embeddings."""
    vectors = (rng.standard_normal((count, DIM)) + 3).astype(np.float32)
    return [Snapshot(rng.bytes(JPEG_BYTES), vector, "benchmark") for vector in vectors]


def measure(products: int, repeats: int, path: Path) -> dict[str, float]:
    """Fill a gallery and measure."""
    rng = np.random.default_rng(0)
    with Gallery(path, MODEL, create=True) as gallery:
        for start in range(0, products, 100):
            for number, snapshot in enumerate(snapshots(rng, 100)):
                gallery.add(f"product {start + number}", [snapshot])
        more = snapshots(rng, repeats)
        adding = milliseconds(lambda n: gallery.add(f"new {n}", [more[n]]), repeats)
        reading = milliseconds(lambda _: gallery.prototypes(), 3)
        labels, prototypes = gallery.prototypes()
    opening = milliseconds(lambda _: Gallery(path, MODEL).state(), 3)
    cohort: Embeddings = (rng.standard_normal((600, DIM)) + 3).astype(np.float32)
    impostors = Cohort(cohort, from_station=False)
    queries = (rng.standard_normal((repeats, DIM)) + 3).astype(np.float32)
    started = time.perf_counter()
    classifier = PrototypeClassifier(labels, prototypes, cohort.mean(axis=0), impostors)
    building = time.perf_counter() - started
    return {
        "products": len(labels),
        "query_ms": milliseconds(lambda n: classifier.classify(queries[n]), repeats),
        "register_ms": adding,
        "open_and_replay_ms": opening,
        "read_prototypes_ms": reading,
        "build_classifier_ms": round(1000 * building, 1),
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(args.products, args.repeats, Path(scratch) / "gallery.db")
    document = {**circumstances(), "cores_used": 1, **figures}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gallery_speed.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
