"""The main job end to end on real images, by the command line that a user has.

    python benchmarks/main_job.py --weights vit_tiny.safetensors --data grocery.zip --out results

tune 24 LoRAs on the train classes (or take them from --hub: a GPU makes tuning quick), build the
average, evaluate it beside the plain backbone on the test classes, export, register one snapshot
of each test class, run over all other images, and compare every verdict with PyTorch's.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from measured import Measured, circumstances, command

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import merge
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.images.coding import encode_jpeg, read_image
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.pipeline.gallery_classifier import cohort_of, prior_of
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.backbones.backbone import BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import Dataset, open_dataset

SEED = 0
BATCH = 32


def unpack(data: Dataset, folder: Path) -> tuple[dict[str, Path], dict[Path, str]]:
    """Write one snapshot a class, and all other images, as files.

    Returns:
        The snapshot's file by class, and the class by file for the rest.
    """
    rng = np.random.default_rng(SEED)
    snapshots, rest = {}, {}
    for label, indices in zip(data.classes, data.by_class(), strict=True):
        chosen = int(rng.choice(indices))
        for index, image in zip(indices, data.images(indices.tolist()), strict=True):
            kind = "register" if index == chosen else "stream"
            path = folder / kind / label / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_jpeg(image, quality=98))
            if index == chosen:
                snapshots[label] = path
            else:
                rest[path] = label
    return snapshots, rest


def torch_labels(
    args: argparse.Namespace, meta: Path, bundle: Path, snapshots: dict[str, Path], rest: list[Path]
) -> list[str]:
    """Register and classify with PyTorch, from the backbone and the adapter, without the export."""
    backbone = load_backbone(BackboneOptions(name=args.backbone, weights=args.weights))
    merge(backbone.model, read_adapter(meta, backbone).updates)
    embedder = TorchEmbedder(backbone.model, backbone.spec)

    def embed(paths: list[Path]) -> np.ndarray:
        frames = (cropped(read_image(path), FRAME_CROP) for path in paths)  # as `run` looks at them
        images = (prepare(frame, backbone.spec) for frame in frames)
        batches = iter(lambda: list(islice(images, BATCH)), [])
        return np.concatenate([embedder.embed(np.stack(batch)) for batch in batches])

    loaded = load_bundle(bundle)
    classifier = PrototypeClassifier(
        list(snapshots),
        np.stack([embed_snapshot(embedder, read_image(path)) for path in snapshots.values()]),
        prior_of(loaded),
        cohort_of(loaded),
        threshold=-1,
    )
    return [decision.nearest for decision in classifier.classify(embed(rest))]


def main_job(args: argparse.Namespace) -> dict[str, Any]:
    """Run the chain and return its figures."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    base = ["--backbone", args.backbone, "--weights", args.weights]
    steps: dict[str, Measured] = {}
    hub = args.hub or out / "hub"
    if args.hub is None:
        steps["tune"] = command("tune", args.data, *base, "--out", hub, "--tasks", 24)
    for stale in ("meta", "bundle", "images"):
        shutil.rmtree(out / stale, ignore_errors=True)
    for stale in out.glob("gallery.db*"):
        stale.unlink()
    meta, bundle, gallery = out / "meta", out / "bundle", out / "gallery.db"
    steps["build"] = command("build", hub, *base, "--method", "average", "--out", meta)
    figures = out / "evaluate.json"
    steps["evaluate"] = command(
        "evaluate", args.data, *base, "--adapter", meta, "--episodes", args.episodes,
        "--json", figures, "--plot", out / "evaluate.svg",
    )  # fmt: skip
    steps["export"] = command(
        "export", *base, "--adapter", meta, "--evaluation", figures, "--out", bundle
    )
    snapshots, rest = unpack(open_dataset(args.data, "test"), out / "images")
    for label, path in snapshots.items():
        # lemons and melons are alike, and they are what is asked: no question is answered here
        steps["register"] = command(
            "register", bundle, label, path, "--gallery", gallery, "--force"
        )
    verdicts = out / "verdicts.jsonl"
    stream = out / "images" / "stream"
    steps["run"] = command(
        "run", bundle, stream, "--gallery", gallery, "--closed-set", "--jsonl", verdicts
    )
    found = [json.loads(line) for line in verdicts.read_text().splitlines()]
    truth = [rest[Path(verdict["source"])] for verdict in found]
    onnx = [verdict["label"] for verdict in found]
    torch = torch_labels(args, meta, bundle, snapshots, [Path(v["source"]) for v in found])
    results = json.loads(figures.read_text())
    return {
        **circumstances(),
        "data": results["data"],
        "episodes": results["results"],
        "products": len(snapshots),
        "images": len(found),
        "one_shot_accuracy": 100
        * float(np.mean([a == b for a, b in zip(onnx, truth, strict=True)])),
        "verdicts_equal_to_torch": int(sum(a == b for a, b in zip(onnx, torch, strict=True))),
        "seconds": {name: round(step.seconds, 1) for name, step in steps.items()},
        "peak_mb": {name: round(step.peak_mb) for name, step in steps.items()},
    }


def main() -> None:
    """Parse arguments, run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="with train and test splits")
    parser.add_argument("--hub", type=Path, help="a tuned hub; default: tune one")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(".out/main_job"))
    document = main_job(parser.parse_args())
    text = json.dumps(document, indent=2)
    (parser.parse_args().out / "main_job.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
