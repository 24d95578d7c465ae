"""Measure the embedded backbone and prior: few-shot accuracy and CPU latency.

    python evaluate_assets.py --data DATA_DIR --backbone backbone.safetensors \
        --teacher vit_tiny_patch16_224.safetensors --prior prior.safetensors

Accuracy is 5-way nearest prototype on the ``test`` splits. Images are decoded by OpenCV, their
short side scaled to the model's input size, and the centre cropped.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from assets import Card, embed, load_model, load_teacher
from data import ImageSet, load_split
from episodes import few_shot_accuracy
from torch import nn

from vision_edge.runtime.errors import require

ARCHIVES = ("mini_imagenet", "grocery", "neu_steel")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the ImageFolder zips")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--teacher", type=Path, help="safetensors of the ViT-Tiny teacher")
    parser.add_argument("--prior", type=Path)
    parser.add_argument(
        "--archives", nargs="*", default=list(ARCHIVES), help="zip names to test on"
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=200, help="timed runs of each model")
    parser.add_argument("--limit", type=int, help="images a class, for a smoke test")
    return parser.parse_args()


def accuracy_rows(
    model: nn.Module, card: Card, images: ImageSet, episodes: int, seed: int
) -> list[str]:
    """Return accuracy cells: 1-shot centred, 1-shot Euclidean, 5-shot centred, 5-shot Euclidean."""
    vectors = embed(model, images.images, card, batch=32)
    return [
        str(few_shot_accuracy(vectors, images.labels, shot, centred, episodes=episodes, seed=seed))
        for shot in (1, 5)
        for centred in (True, False)
    ]


def nearest_mean_top1(model: nn.Module, card: Card, images: ImageSet) -> float:
    """Classify every second image of each class by the class means of the others, in percent."""
    vectors = embed(model, images.images, card, batch=32)
    known = np.zeros(len(images), dtype=bool)
    known[::2] = True
    classes = np.unique(images.labels)
    means = np.stack([vectors[known & (images.labels == c)].mean(axis=0) for c in classes])
    distance = ((vectors[~known][:, None] - means[None]) ** 2).sum(axis=-1)
    return 100 * float((classes[distance.argmin(axis=1)] == images.labels[~known]).mean())


def make_session(model: nn.Module, size: int, threads: int) -> Any:
    """Export a model to ONNX and open it on the CPU, float32."""
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        example = (torch.zeros(1, 3, size, size),)
        torch.onnx.export(model, example, path, input_names=["x"], dynamo=True, verbose=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def report_latency(models: dict[str, tuple[nn.Module, Card]], threads: int, rounds: int) -> None:
    """Print the milliseconds of one image; the models take turns, so that load hits them alike."""
    sizes = {name: card.input_size for name, (_, card) in models.items()}
    sessions = {n: make_session(m, sizes[n], threads) for n, (m, _) in models.items()}
    rng, times = np.random.default_rng(0), {name: np.empty(rounds) for name in models}
    for i in range(-10, rounds):
        for name, session in sessions.items():
            x = rng.standard_normal((1, 3, sizes[name], sizes[name]), dtype=np.float32)
            start = time.perf_counter()
            session.run(None, {"x": x})
            if i >= 0:
                times[name][i] = 1000 * (time.perf_counter() - start)
    print(f"\nCPU, ONNX Runtime float32, {threads} threads, batch 1:")
    for name, (_, card) in models.items():
        middle, least = np.median(times[name]), times[name].min()
        size = f"{card.parameters:>10,} parameters  {card.input_size} px"
        print(f"{name:9} {size}  median {middle:6.1f} ms  least {least:6.1f} ms", flush=True)


def report_embedders(
    models: dict[str, tuple[nn.Module, Card]], options: argparse.Namespace
) -> None:
    """Print the few-shot table of every model on every archive."""
    print("model     data           1-shot centred  1-shot Euclid   5-shot centred  5-shot Euclid")
    for archive in options.archives:
        for name, (model, card) in models.items():
            path = options.data / f"{archive}.zip"
            images = load_split(path, options.split, card.input_size, limit=options.limit)
            cells = accuracy_rows(model, card, images, options.episodes, options.seed)
            print(f"{name:9} {archive:14}", *(f"{c:15}" for c in cells), flush=True)


def report_prior(path: Path, options: argparse.Namespace) -> None:
    """Print what the prior says about itself, and its nearest-mean top-1 on validation classes."""
    model, card = load_model(path)
    images = load_split(
        options.data / "mini_imagenet.zip", "val", card.input_size, limit=options.limit
    )
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    top1 = nearest_mean_top1(model, card, images)
    print(f"\nprior: {card.parameters:,} parameters, {norms} BatchNorm layers; {card.trained_on}")
    print(f"nearest-mean top-1 on {len(images.classes)} unseen mini_imagenet classes: {top1:.1f} %")


def main() -> None:
    """Run the report."""
    options = arguments()
    torch.set_num_threads(options.threads)
    models: dict[str, tuple[nn.Module, Card]] = {}
    if options.teacher:
        models["teacher"] = load_teacher(options.teacher)
    if options.backbone:
        models["backbone"] = load_model(options.backbone)
    report_embedders(models, options)
    if models:
        report_latency(models, options.threads, options.rounds)
    if options.prior:
        report_prior(options.prior, options)


if __name__ == "__main__":
    main()
