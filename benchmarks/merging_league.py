"""Merging methods side by side: the same hubs, the same rule of size, the same episodes.

    python benchmarks/merging_league.py --shared ../shared          # test classes
    python benchmarks/merging_league.py --shared ../shared --choose # classes for choosing

Each method of `merging_methods` gives every projection a direction, as its paper says; `--scale`
times the toolkit's rule (`averaging.size`) then sizes the whole, so that what is compared is the
direction. A hub may be a part of one, or several together (`a:12+b:12`, the first 12 of each).
Printed as Markdown, the plain backbone first: accuracy of 5-way episodes and, with
`--open`, the AUROC of the best score between the episode's queries and pictures of other classes.

Grocery hubs are of 32 train classes; for choosing, the 17 others stand, and mini_imagenet's val.
Embeddings are kept in `--cache`, so that a run goes on where it stopped. With `--bfloat16` a
processor that has it computes products in bfloat16: cosines to float32 of 0.9995 and more.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measured import circumstances
from merging_methods import METHODS, Method, Products
from numpy.typing import NDArray

from vision_edge.export.gate.episodes import (
    Accuracy,
    EpisodeSettings,
    accuracy_over,
    centred_cosine_scores,
    draw,
)
from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.crops import cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.recognition.bundle_calibration import ranking
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.adapters.hub import read_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.averaging.size import scaled, sized, weights_norm
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import open_dataset

NEVER_SEEN = (
    *("Alpro-Fresh-Soy-Milk", "Alpro-Shelf-Soy-Milk", "Anjou", "Arla-Ecological-Sour-Cream"),
    *("Arla-Medium-Fat-Milk", "Arla-Standard-Milk", "Avocado", "Cabbage", "Cantaloupe"),
    *("Carrots", "God-Morgon-Apple-Juice", "Granny-Smith", "Red-Beet", "Satsumas"),
    *("Yellow-Bell-Pepper", "Yoggi-Strawberry-Yoghurt", "Zucchini"),
)
"""Grocery train classes that no adapter of the hubs g32 was tuned on."""

CHOOSE = (("grocery", "train", NEVER_SEEN), ("mini_imagenet", "val", ()))
TEST = (("grocery", "test", ()), ("mini_imagenet", "test", ()), ("neu_steel", "test", ()))
HUBS = "g32-w5 g32-w20 m64-w20 m64-w64 g32-w20:12+m64-w20:12"
Members = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Pictures:
    """Prepared pictures uint8 (N, S, S, 3) of one set, and of each class its rows."""

    name: str
    images: Image
    members: Members


def pictures(
    shared: Path,
    cache: Path,
    source: tuple[str, str, Sequence[str]],
    backbone: Backbone,
    each: int,
    crop: float = 1.0,
) -> Pictures:
    """Return up to `each` pictures a class, or their middles, prepared; drawn once for all."""
    name, split, classes = source
    data = open_dataset(shared / "data" / f"{name}.zip", split)
    missing = set(classes) - set(data.classes)
    if missing:
        raise SystemExit(f"{name} has no class {min(missing)!r}")
    rng = np.random.default_rng(0)
    kept = [
        rng.permutation(rows)[:each]
        for label, rows in zip(data.classes, data.by_class(), strict=True)
        if not classes or label in classes
    ]
    part = "" if crop == 1.0 else f"-{crop:g}"
    path = cache / f"{name}-{split}-{len(kept)}-{each}-{backbone.spec.size}{part}.npy"
    if not path.is_file():
        chosen = np.concatenate(kept).tolist()
        images = (cropped(image, crop) for image in data.images(chosen))
        stack = np.stack([prepare(image, backbone.spec) for image in images])
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, stack)
    ends = np.cumsum([len(rows) for rows in kept])
    members = [np.arange(end - len(rows), end) for end, rows in zip(ends, kept, strict=True)]
    return Pictures(f"{name}/{split}", np.load(path, allow_pickle=False), members)


def gathered(shared: Path, hub: str, backbone: Backbone) -> dict[str, Products]:
    """Return the updates of each projection, of a hub or parts of several together."""
    found: dict[str, Products] = {}
    for part in hub.split("+"):
        name, _, count = part.partition(":")
        adapters = read_hub(shared / "hubs" / name, backbone, trust_base=True)
        for index, adapter in enumerate(adapters):
            if count and index >= int(count):
                break
            for projection, update in projections(adapter.updates):
                found.setdefault(projection, []).append(update)
    return found


def merged(hub: dict[str, Products], method: Method) -> dict[str, LowRank]:
    """Return a hub's update by module as a method directs it; its size is not settled yet."""
    parts: dict[str, dict[str, LowRank]] = {}
    for name, products in hub.items():
        module, _, part = name.partition(":")
        matrix = method(products)
        parts.setdefault(module, {})[part] = LowRank(torch.eye(matrix.shape[1]), matrix)
    return {module: joined(found) for module, found in parts.items()}


@dataclass
class League:
    """Embeds each state of the backbone once.

    Attributes:
        backbone: The plain one.
        sets: What is embedded.
        cache: Where embeddings are kept.
    """

    backbone: Backbone
    sets: list[Pictures]
    cache: Path

    def plain(self) -> list[Embeddings]:
        """Return the plain backbone's embeddings of each set."""
        return [self._kept("plain", data, self.backbone.model) for data in self.sets]

    def of(
        self, key: str, updates: dict[str, LowRank], scale: float
    ) -> tuple[list[Embeddings], float]:
        """Return the embeddings of each set at `scale` times the rule, and the update's share."""
        note = self.cache / f"{key}.json"
        if not note.is_file():
            _, size = sized(updates, self.backbone, scale)
            with atomic_file(note) as temporary:
                temporary.write_text(json.dumps(size.document()))
        share = float(json.loads(note.read_text())["share"])
        norm = math.sqrt(sum(update.squared_norm() for update in updates.values()))
        factor = share * weights_norm(updates, self.backbone) / norm
        parts = {module: scaled(update, factor) for module, update in updates.items()}
        return self.embedded(key, parts), share

    def embedded(self, key: str, updates: Mapping[str, LowRank]) -> list[Embeddings]:
        """Return the embeddings of each set by the backbone with an update as it is."""
        model = copy.deepcopy(self.backbone.model)
        merge(model, updates)
        return [self._kept(key, data, model) for data in self.sets]

    def _kept(self, key: str, data: Pictures, model: torch.nn.Module) -> Embeddings:
        path = self.cache / f"{key}-{data.name.replace('/', '-')}-{len(data.images)}.npy"
        if not path.is_file():
            vectors = TorchEmbedder(model, self.backbone.spec, batch=32).embed(data.images)
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, vectors)
        found: Embeddings = np.load(path, allow_pickle=False)
        return found


def in_bfloat16(backbone: Backbone) -> None:
    """Let every model of the backbone's class compute its products in bfloat16."""
    kind = type(backbone.model)
    kind.forward = torch.autocast("cpu", torch.bfloat16)(kind.forward)  # type: ignore[method-assign]


def gain(after: Embeddings, before: Embeddings, members: Members, episodes: int) -> Accuracy:
    """Return the mean difference of accuracy on the same episodes, and its 95 % interval.

    Args:
        after: float32 (N, D).
        before: Of the same pictures, to compare with.
        members: Of each class its rows.
        episodes: How many, 5-way 1-shot.
    """
    settings = EpisodeSettings(episodes=episodes)
    truth = np.repeat(np.arange(settings.way), settings.query)
    apart = []
    for episode in draw(members, settings):
        right = []
        for vectors in (after, before):
            prototypes = vectors[episode.support].mean(axis=1)
            scores = centred_cosine_scores(vectors[episode.query.ravel()], prototypes)
            right.append(float((scores.argmax(axis=1) == truth).mean()))
        apart.append(right[0] - right[1])
    error = float(np.std(apart, ddof=1)) / float(np.sqrt(len(apart)))
    return Accuracy(100.0 * float(np.mean(apart)), 196.0 * error)


def rejection(vectors: Embeddings, members: Members, settings: EpisodeSettings) -> Accuracy:
    """Return the AUROC between an episode's queries and pictures of up to `way` other classes.

    Args:
        vectors: float32 (N, D).
        members: Of each class its rows, more classes than `way`.
        settings: The same as for accuracy: the known classes are those of the same episodes.
    """
    rng = np.random.default_rng(settings.seed)
    owner = np.concatenate([np.full(len(m), i) for i, m in enumerate(members)])
    order = np.argsort(np.concatenate(members))
    rates = []
    for episode in draw(members, settings):
        known = set(owner[order][episode.support[:, 0]].tolist())
        others = [m for i, m in enumerate(members) if i not in known]
        picked = [others[i] for i in rng.permutation(len(others))[: settings.way]]
        strangers = np.concatenate([rng.permutation(m)[: settings.query] for m in picked])
        prototypes = vectors[episode.support].mean(axis=1)
        own = centred_cosine_scores(vectors[episode.query.ravel()], prototypes).max(axis=1)
        other = centred_cosine_scores(vectors[strangers], prototypes).max(axis=1)
        rates.append(ranking(own.astype(np.float32), other.astype(np.float32)))
    error = float(np.std(rates, ddof=1)) / float(np.sqrt(len(rates)))
    return Accuracy(100.0 * float(np.mean(rates)), 196.0 * error)


def row(
    name: str,
    share: str,
    found: list[Embeddings],
    sets: list[Pictures],
    settings: EpisodeSettings,
    opened: bool,
) -> str:
    """Return a line of the table."""
    cells = []
    for vectors, data in zip(found, sets, strict=True):
        accuracy = accuracy_over(vectors, data.members, settings)
        cells.append(f"{accuracy.mean:.1f} ± {accuracy.ci95:.1f}")
        if opened:
            area = rejection(vectors, data.members, settings)
            cells.append(f"{area.mean:.1f} ± {area.ci95:.1f}")
    return f"| {name} | {share} | {' | '.join(cells)} |"


def options(what: str) -> argparse.ArgumentParser:
    """Return the options that all who measure hubs take."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--each", type=int, default=20, help="pictures a class")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(".out/league"))
    return parser


def backbone_of(args: argparse.Namespace) -> Backbone:
    """Load the backbone that is asked for, and have a folder for what is kept."""
    args.cache.mkdir(parents=True, exist_ok=True)
    weights = args.shared / "weights" / f"{args.backbone}.safetensors"
    backbone = load_backbone(BackboneOptions(name=args.backbone, weights=weights))
    if args.bfloat16:
        in_bfloat16(backbone)
    return backbone


def main() -> None:
    """Print a table a hub."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--hubs", default=HUBS, help="separated by blanks")
    parser.add_argument("--methods", default="", help="separated by commas; all by default")
    parser.add_argument("--scales", default="1", help="separated by commas")
    parser.add_argument("--choose", action="store_true", help="train and val classes, not test")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--open", action="store_true", help="AUROC as well")
    args = parser.parse_args()
    backbone = backbone_of(args)
    sources = CHOOSE if args.choose else TEST
    sets = [pictures(args.shared, args.cache, s, backbone, args.each) for s in sources]
    league = League(backbone, sets, args.cache)
    settings = EpisodeSettings(shot=args.shot, episodes=args.episodes)
    names = [name for name in args.methods.split(",") if name] or list(METHODS)
    heads = [h for data in sets for h in ([data.name, "AUROC"] if args.open else [data.name])]
    print(f"{circumstances()}, {args.episodes} episodes, {args.each} pictures a class", flush=True)
    print(f"| hub, method | share | {' | '.join(heads)} |\n|{' --- |' * (2 + len(heads))}")
    print(row("plain", "-", league.plain(), sets, settings, args.open), flush=True)
    for hub in args.hubs.split():
        products = gathered(args.shared, hub, backbone)
        for name in names:
            updates = merged(products, METHODS[name])
            for scale in map(float, args.scales.split(",")):
                kind = "choose" if args.choose else "test"
                key = f"{kind}-{hub}-{name}-{scale:g}-{args.each}".replace(" ", "_")
                found, share = league.of(key, updates, scale)
                title = f"{hub}, {name}" + (f" x {scale:g}" if scale != 1 else "")
                line = row(title, f"{100 * share:.1f} %", found, sets, settings, args.open)
                print(line, flush=True)


if __name__ == "__main__":
    main()
