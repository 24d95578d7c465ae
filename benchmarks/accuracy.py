"""Few-shot accuracy of recycling and its baselines, one table like the paper's Tables 1 to 3.

    python benchmarks/accuracy.py --weights vit_tiny.safetensors \
        --hub grocery=hub-a --hub grocery=hub-b --hub mini_imagenet=hub-c \
        --train grocery=grocery.zip --train mini_imagenet=mini_imagenet.zip \
        --test grocery.zip mini_imagenet.zip neu_steel.zip --out .out/accuracy

Each hub is recycled without data; the *oracle* is the same LoRA meta-trained on the real train
images of the hub's own data set. Everything is evaluated on the test classes, on the same episodes,
by centred cosine; nothing is chosen by them. Linear probe and LoRA fine-tuning tune on each
episode's support set.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measured import circumstances
from torch import nn

from vision_edge.export.model.embedder import TorchEmbedder, embed_normalised, normalise_pixels
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.export.model.pruning import Pruning
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.averaging.average import average_hub
from vision_edge.toolkit.averaging.factors import factor_average
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import Dataset, open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings, draw_episodes, episode_accuracy
from vision_edge.toolkit.evaluation.evaluate import embed_dataset
from vision_edge.toolkit.inversion.prior import load_prior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.learner import meta_learn
from vision_edge.toolkit.meta.meta_lora import random_updates
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.inverted import Inverted
from vision_edge.toolkit.pool.pool import PoolPart, open_pool
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.recycle.pipeline import recycle_hub
from vision_edge.toolkit.recycle.settings import PLAIN_MEAN, RecycleSettings, Where
from vision_edge.toolkit.tuning.injection import inject

Updates = Mapping[str, LowRank]
SPARSITIES = (0.0, 0.25, 0.5, 0.75)
METRIC = "centred-cosine"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--backbone", default="vit_tiny_patch16_224")
    add("--weights", type=Path, required=True)
    add("--hub", action="append", default=[], help="DATA=FOLDER, once a hub")
    add("--train", action="append", default=[], help="DATA=ZIP, for the oracle")
    add("--test", type=Path, nargs="+", required=True)
    add("--episodes", type=int, default=600)
    add("--per-class", type=int, default=10)
    add("--iterations", type=int, default=200)
    add(
        "--tuned-episodes",
        type=int,
        default=20,
        help="episodes of LoRA fine-tuning; 0: neither that nor linear probes",
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--out", type=Path, default=Path(".out/accuracy"))
    return parser.parse_args()


def pairs(items: list[str]) -> list[tuple[str, Path]]:
    """Split `NAME=PATH` items."""
    return [(name, Path(path)) for name, _, path in (item.partition("=") for item in items)]


def recycled(
    hub: Path, backbone: Backbone, args: argparse.Namespace, work: Path
) -> dict[str, Updates]:
    """Return, by name, what is made of a hub without data."""
    inversion = InversionSettings(args.per_class, args.iterations, pruning=Pruning(((6, 0.75),)))
    shape = TaskShape(query=min(9, args.per_class - 1))
    settings = RecycleSettings(inversion=inversion, meta=MetaSettings(shape=shape))
    prior = load_prior().to(args.device)
    if args.device == "cuda":
        prior = prior.bfloat16()
    where = Where(work, args.device, prior=prior)
    first = recycle_hub(
        hub, backbone, replace(settings, meta=replace(settings.meta, steps=0)), where
    )
    print(f"  {hub.name}: {len(first.parts)} adapters, stages {first.stages}", flush=True)
    states: dict[str, Updates] = {
        "LoRAs Avg (paper)": factor_average(hub, backbone),
        "average of products": average_hub(hub, backbone, PLAIN_MEAN).updates,
        "subspace average": first.subspace.updates,
    }
    paper = MetaSettings(lr=1e-3, metric="euclidean", temperature=1.0, sparsity=0.75, shape=shape)
    states["recycle (paper)"] = meta_learn(
        backbone, random_updates(backbone.model, 4, 0), first.parts, paper, device=args.device
    ).updates
    for sparsity in SPARSITIES:
        states[f"recycle, {100 * sparsity:.0f} % sparse"] = meta_learn(
            backbone,
            first.subspace.updates,
            first.parts,
            replace(settings.meta, sparsity=sparsity),
            device=args.device,
        ).updates
    return states


def oracle(data: Dataset, backbone: Backbone, device: str, folder: Path) -> Updates:
    """Meta-train a LoRA from random on real images: what no data-free method sees."""
    parts = real_pool(data, backbone, folder)
    settings = MetaSettings(steps=200, lr=1e-3, cycle=200, interpolation=1.0, held_out=0.2)
    start = random_updates(backbone.model, 4, 0)
    return meta_learn(backbone, start, parts, settings, device=device).updates


def real_pool(data: Dataset, backbone: Backbone, folder: Path, most: int = 60) -> list[PoolPart]:
    """Write real images in the form of a pool, six classes a part."""
    pool = open_pool(folder, backbone, InversionSettings().document(), "none", "real images")
    patches = int(backbone.model.patch_embed.num_patches)
    members = data.by_class()
    for first in range(0, len(members), 6):
        rows = [indices[:most] for indices in members[first : first + 6]]
        images = data.prepared(backbone.spec, np.concatenate(rows).tolist())
        labels = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        order = np.tile(np.arange(patches, dtype=np.int16), (len(images), 1))
        logits = np.zeros((len(images), len(rows)), np.float32)
        made = Inverted(images, labels, logits, order, 0.0, 0.0)
        pool.add(Adapter(f"real-{first:03d}", {}, Head(torch.zeros(1, 1))), made)
    return pool.parts()


def table(
    backbone: Backbone,
    states: Mapping[str, Updates],
    tests: list[Dataset],
    args: argparse.Namespace,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Evaluate every state on every test set; return the rows and the plain features by set."""
    embedders = []
    for name, updates in states.items():
        model = copy.deepcopy(backbone.model)
        merge(model, updates)
        embedders.append(TorchEmbedder(model.to(args.device), backbone.spec, name))
    rows, plain = [], {}
    for data in tests:
        features = embed_dataset(data, embedders)
        plain[data.name] = features[0]
        for shot in (1, 5):
            settings = EpisodeSettings(shot=shot, episodes=args.episodes)
            for embedder, matrix in zip(embedders, features, strict=True):
                result = episode_accuracy(matrix, data, settings, METRIC)
                row = {"state": embedder.name, "data": data.name, "shot": shot, **asdict(result)}
                rows.append(row)
    return rows, plain


def linear_probe(features: np.ndarray, data: Dataset, settings: EpisodeSettings) -> np.ndarray:
    """Return the accuracy of a linear head tuned on each episode's support: (episodes,)."""
    rates = []
    truth = np.repeat(np.arange(settings.way), settings.query)
    labels = torch.arange(settings.way).repeat_interleave(settings.shot)
    for episode in draw_episodes(data, settings):
        support = torch.from_numpy(features[episode.support].reshape(-1, features.shape[1]))
        query = torch.from_numpy(features[episode.query].reshape(-1, features.shape[1]))
        centre = support.mean(0)
        support, query = (F.normalize(x - centre, dim=-1) for x in (support, query))
        head = nn.Linear(support.shape[1], settings.way)
        optimiser = torch.optim.Adam(head.parameters(), 1e-2)
        for _ in range(50):
            optimiser.zero_grad()
            F.cross_entropy(10 * head(support), labels).backward()
            optimiser.step()
        rates.append(float((head(query).argmax(1).numpy() == truth).mean()))
    return np.array(rates)


def lora_tuning(
    backbone: Backbone, data: Dataset, settings: EpisodeSettings, device: str, steps: int = 50
) -> tuple[np.ndarray, float, float]:
    """Tune a LoRA and a head on each episode's support.

    Returns:
        Accuracies (episodes,), tasks a second, and the peak of GPU memory in MB.
    """
    rates, seconds = [], 0.0
    labels = torch.arange(settings.way, device=device).repeat_interleave(settings.shot)
    truth = np.repeat(np.arange(settings.way), settings.query)
    for episode in draw_episodes(data, settings):
        support, query = (
            pixels_of(data, rows, backbone, device) for rows in (episode.support, episode.query)
        )
        started = time.perf_counter()
        model = copy.deepcopy(backbone.model).to(device)
        layers = inject(model, 4)
        head = nn.Linear(backbone.dim, settings.way).to(device)
        trained = [p for layer in layers.values() for p in (layer.A, layer.B)]
        optimiser = torch.optim.Adam([*trained, *head.parameters()], 1e-3)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            for _ in range(steps):
                loss = F.cross_entropy(head(embed_normalised(model, support)).float(), labels)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                found = head(embed_normalised(model, query)).argmax(1).cpu().numpy()
        seconds += time.perf_counter() - started
        rates.append(float((found == truth).mean()))
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else float("nan")
    return np.array(rates), len(rates) / seconds, peak


def pixels_of(data: Dataset, rows: np.ndarray, backbone: Backbone, device: str) -> torch.Tensor:
    """Return images as float32 (N, 3, S, S), normalised."""
    images = torch.from_numpy(data.prepared(backbone.spec, rows.reshape(-1).tolist()))
    return normalise_pixels(images.to(device), backbone.spec)


def summary(rates: np.ndarray) -> dict[str, float]:
    """Return mean and 95 % half-width in percent."""
    error = float(np.std(rates, ddof=1) / np.sqrt(len(rates)))
    return {"mean": 100 * float(rates.mean()), "ci95": 196 * error}


def tuned_rows(
    backbone: Backbone,
    plain: Mapping[str, np.ndarray],
    tests: list[Dataset],
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Return the rows of linear probe and LoRA fine-tuning."""
    rows = []
    for data in tests:
        for shot in (1, 5):
            settings = EpisodeSettings(shot=shot, episodes=args.episodes)
            rates = linear_probe(plain[data.name], data, settings)
            rows.append(
                {"state": "linear probe", "data": data.name, "shot": shot, **summary(rates)}
            )
        few = EpisodeSettings(shot=1, episodes=args.tuned_episodes)
        rates, speed, peak = lora_tuning(backbone, data, few, args.device)
        facts = {"tasks_per_second": speed, "peak_mb": peak, "episodes": args.tuned_episodes}
        rows.append(
            {"state": "LoRA tuning", "data": data.name, "shot": 1, **summary(rates), **facts}
        )
    return rows


def main() -> None:
    """Recycle, meta-train the oracles, evaluate, print and save."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(BackboneOptions(name=args.backbone, weights=args.weights))
    tests = [open_dataset(path, "test") for path in args.test]
    states: dict[str, Updates] = {"backbone (NN)": {}}
    for name, path in pairs(args.train):
        data = open_dataset(path, "train")
        states[f"{name} | oracle (real images)"] = oracle(
            data, backbone, args.device, args.out / f"real-{name}"
        )
        print(f"oracle {name} done", flush=True)
    for name, hub in pairs(args.hub):
        made = recycled(hub, backbone, args, args.out / f"work-{hub.name}")
        states.update({f"{name} | {hub.name} | {state}": u for state, u in made.items()})
    rows, plain = table(backbone, states, tests, args)
    document = {**circumstances(), "settings": vars(args) | {"out": str(args.out)}, "rows": rows}
    save(args.out / "accuracy.json", document)
    if args.tuned_episodes:
        rows += tuned_rows(backbone, plain, tests, args)
    save(args.out / "accuracy.json", document)
    for row in rows:
        cell = f"{row['mean']:.1f} ± {row['ci95']:.1f}"
        print(f"{row['state']:60} {row['data']:20} {row['shot']}-shot  {cell}")


def save(path: Path, document: dict[str, Any]) -> None:
    """Write the results."""
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
