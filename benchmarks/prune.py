"""Leaving out patches at inference: accuracy, agreement and speed beside the whole model.

    python benchmarks/prune.py --shared ../shared

Each setting is exported as `vision-edge export --prune` does, in float32, and runs in ONNX Runtime
on two threads. Accuracy is 5-way 1-shot on the test splits' images, some of each class. For the
speed the models take turns, image by image, so that a noisy machine disturbs all of them alike; the
ratio is that of the medians. `--choose` takes grocery's train and mini_imagenet's val split instead
of the test splits: settings are chosen on those.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import circumstances

from vision_edge.export.gate.parity import compare
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.export.precision.variant import make_variant
from vision_edge.export.settings import ExportSettings
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import require
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import Dataset, open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings, episode_accuracy

ort = require("onnxruntime")
SETTINGS = (
    "", "9:0.5", "4:0.25,7:0.25", "4:0.15,6:0.15,8:0.2,10:0.3", "6:0.5", "4:0.25,7:0.3,10:0.5",
    "3:0.3,6:0.3", "3:0.2,5:0.2,7:0.3,9:0.4",
)  # fmt: skip
TEST = (("grocery", "test"), ("neu_steel", "test"))
CHOICE = (("grocery", "train"), ("mini_imagenet", "val"))
THREADS, BATCH = 2, 8
EPISODES = EpisodeSettings(way=5, shot=1, query=15, episodes=1000)


def some_of_each(data: Dataset, per_class: int, classes: int) -> Dataset:
    """Return a fixed draw of images of some classes."""
    rng = np.random.default_rng(0)
    large = [rows for rows in data.by_class() if len(rows) >= per_class]
    chosen = [large[i] for i in sorted(rng.permutation(len(large))[:classes])]
    rows = np.concatenate([np.sort(rng.permutation(members)[:per_class]) for members in chosen])
    names = tuple(data.classes[data.labels[members[0]]] for members in chosen)
    labels = np.repeat(np.arange(len(chosen)), per_class)
    return replace(data, classes=names, files=tuple(data.files[i] for i in rows), labels=labels)


def session_of(backbone: Backbone, setting: str) -> Any:
    """Export with a pruning and load the graph."""
    pruning = Pruning.parse(setting)
    model = pruned(backbone.model, pruning) if pruning.steps else backbone.model
    variant = make_variant(model, backbone.spec, ExportSettings(pruning=pruning), None)
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    return ort.InferenceSession(variant.data, options, providers=["CPUExecutionProvider"])


def embed(session: Any, images: Image) -> np.ndarray:
    """Embed uint8 (N, S, S, 3) as float32 (N, D)."""
    parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    return np.concatenate([session.run(None, {"images": part})[0] for part in parts])


def milliseconds(sessions: dict[str, Any], images: Image, rounds: int) -> dict[str, float]:
    """Return each model's median time an image; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(rounds + 5):
        image = images[turn % len(images)][None]
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {"images": image})
            if turn >= 5:  # the first few warm up
                times[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(taken) for name, taken in times.items()}


def tokens(setting: str, patches: int, depth: int) -> float:
    """Return the share of tokens that the blocks compute."""
    counts, left, total = Pruning.parse(setting).counts(patches), patches, 0
    for block in range(1, depth + 1):
        total += left + 1
        left = counts.get(block, left)
    return total / (depth * (patches + 1))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every setting."""
    weights = args.shared / "weights" / "vit_tiny_patch16_224.safetensors"
    backbone = load_backbone(BackboneOptions(name="vit_tiny_patch16_224", weights=weights))
    settings = args.settings or SETTINGS
    sessions = {setting: session_of(backbone, setting) for setting in settings}
    rows: dict[str, dict[str, Any]] = {
        setting: {"tokens": round(tokens(setting, 196, 12), 3)} for setting in settings
    }
    for name, split in CHOICE if args.choose else TEST:
        archive = args.shared / "data" / f"{name}.zip"
        data = some_of_each(open_dataset(archive, split), args.per_class, args.classes)
        images = data.prepared(backbone.spec)
        whole = embed(sessions[""], images)
        for setting, session in sessions.items():
            ours = embed(session, images)
            accuracy = episode_accuracy(ours, data, EPISODES, "centred-cosine")
            parity = compare(whole, ours)
            rows[setting][name] = {
                "images": len(data),
                "classes": len(data.classes),
                "accuracy": round(accuracy.mean, 2),
                "ci95": round(accuracy.ci95, 2),
                "mean_cosine": round(parity.mean_cosine, 4),
                "min_cosine": round(parity.min_cosine, 4),
            }
            print(setting or "all patches", name, rows[setting][name], flush=True)
    taken = milliseconds(sessions, images, args.rounds)
    for setting in settings:
        rows[setting]["ms"] = round(taken[setting], 2)
        rows[setting]["ratio"] = round(taken[setting] / taken[""], 3)
    return {"threads": THREADS, "rounds": args.rounds, "settings": rows}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--settings", nargs="*", help="such as 6:0.5; '' is the whole model")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--choose", action="store_true", help="on train and val splits")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    document = {**circumstances(), **measure(args)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prune.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
