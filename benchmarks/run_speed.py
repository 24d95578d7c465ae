"""The pipeline of `vision-edge run` against the bare session on the same images, and its memory.

    python benchmarks/run_speed.py --shared ../shared

Each image of the grocery test split is judged from a folder and from a video; the bare time is
that of `session.run` alone on the same images, prepared beforehand. The two take turns, so that a
noisy machine disturbs both; the ratio of medians is what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import circumstances, command

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.images.video_writer import VideoWriter
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.sources.opening import open_source
from vision_edge.toolkit.data.dataset import open_dataset

REGISTERED = 8


def write_sources(images: list[Image], folder: Path) -> dict[str, Path]:
    """Write the images as a folder of JPEG files and as a video of 640x480."""
    stills = folder / "images"
    stills.mkdir()
    writer = VideoWriter(folder / "images.mp4", 30.0)
    for index, image in enumerate(images):
        (stills / f"{index:05d}.jpg").write_bytes(encode_jpeg(image))
        writer.write(np.ascontiguousarray(cv2.resize(image, (640, 480))))
    writer.close()
    return {"folder": stills, "video": folder / "images.mp4"}


def bare_seconds(session: Session, prepared: Image) -> float:
    """Return the time of the session alone, one image at a time."""
    started = time.monotonic()
    for image in prepared:
        session.embed(image[None])
    return time.monotonic() - started


def pipeline_seconds(session: Session, classifier: PrototypeClassifier, source: Path) -> float:
    """Return the time from opening the source to its last verdict."""
    started = time.monotonic()
    opened = open_source(str(source))
    for _ in verdicts(opened, session, classifier):
        pass
    opened.close()
    return time.monotonic() - started


def compare(
    session: Session, classifier: PrototypeClassifier, source: Path, repeats: int
) -> dict[str, float]:
    """Time the pipeline and the bare session in turns."""
    opened = open_source(str(source))
    prepared = np.stack([prepare(frame.image, session.spec) for frame in opened])
    opened.close()
    bare, whole = [], []
    bare_seconds(session, prepared[:8])
    for _ in range(repeats):
        bare.append(bare_seconds(session, prepared))
        whole.append(pipeline_seconds(session, classifier, source))
    count = len(prepared)
    return {
        "images": count,
        "session_ms": round(1000 * statistics.median(bare) / count, 2),
        "pipeline_ms": round(1000 * statistics.median(whole) / count, 2),
        "ratio": round(statistics.median(whole) / statistics.median(bare), 3),
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Export a bundle, register, and measure."""
    weights = args.shared / "weights" / "vit_tiny_patch16_224.safetensors"
    bundle, gallery_path = folder / "bundle", folder / "gallery.db"
    base = ["--backbone", "vit_tiny_patch16_224", "--weights", weights]
    command("export", *base, "--out", bundle)
    data = open_dataset(args.shared / "data" / "grocery.zip", "test")
    chosen = np.random.default_rng(0).permutation(len(data))[: args.images]
    images = list(data.images(chosen.tolist()))
    sources = write_sources(images, folder)
    for index in range(REGISTERED):
        still = sources["folder"] / f"{index:05d}.jpg"
        command("register", bundle, f"product {index}", still, "--gallery", gallery_path)
    session = open_session(load_bundle(bundle), "cpu")
    with Gallery(gallery_path, session.bundle.manifest.identity) as gallery:
        classifier = classifier_for(gallery, session)
    figures: dict[str, Any] = {
        kind: compare(session, classifier, source, args.repeats) for kind, source in sources.items()
    }
    for kind, source in sources.items():
        jsonl = folder / f"{kind}.jsonl"
        took = command("run", bundle, source, "--gallery", gallery_path, "--jsonl", jsonl)
        figures[kind]["run_peak_mb"] = round(took.peak_mb)
    return figures


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        document = {**circumstances(), **measure(args, Path(scratch))}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "run_speed.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
