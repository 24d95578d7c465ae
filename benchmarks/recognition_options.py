"""What catalogue pictures, more views a frame and patches bring, and what they cost.

    python benchmarks/recognition_options.py --shared ../shared --choose   # train and val
    python benchmarks/recognition_options.py --shared ../shared            # test, once
    python benchmarks/recognition_options.py ... --bundle meta=.out/meta   # another bundle beside

A plain ViT-Tiny is exported with patches. A bundle given by name must have patches too. Snapshots
and frames are embedded by the program's own functions; every draw registers one picture a product,
and the other classes are strangers. Thresholds let in exactly 5 % of a draw's strangers, except
where the program decides by itself. The station's own pictures, to which catalogue pictures are
carried, are 30 of classes that are neither products nor strangers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measured import circumstances, command
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings, Patches
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.catalogue import catalogue_views, encode_catalogue
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.crops import CROPS, FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.frame_views import FrameViews, ViewSettings
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.recognition.domains import shift_between
from vision_edge.runtime.recognition.patch_ranking import PatchRanking
from vision_edge.runtime.recognition.product_scores import centre_of, centred_cosine
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.data.dataset import open_dataset

BACKBONE = "vit_tiny_patch16_224"
CHOOSE = (("grocery", "train"), ("mini_imagenet", "val"))
TEST = (("grocery", "test"), ("mini_imagenet", "test"), ("neu_steel", "test"))
EACH, QUERIES, OWN = 40, 10, 30
HALF = CROPS.index(FRAME_CROP)
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """Pictures of one split: vectors float32 (N, 3, D) of the crops, patches (N, T, D), labels."""

    vectors: Embeddings
    patches: Patches
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def only(self, names: frozenset[str]) -> Shown:
        """Return the pictures of some classes."""
        rows = np.isin(self.labels, [k for k, name in enumerate(self.names) if name in names])
        return replace(
            self, vectors=self.vectors[rows], patches=self.patches[rows], labels=self.labels[rows]
        )


@dataclass(frozen=True)
class Draw:
    """Classes drawn, and rows: one snapshot a product, queries with their product, strangers."""

    classes: NDArray[np.int64]
    snapshots: NDArray[np.int64]
    queries: NDArray[np.int64]
    truth: NDArray[np.int64]
    strangers: NDArray[np.int64]


def shown(shared: Path, cache: Path, session: Session, set_name: str, split: str) -> Shown:
    """Return a split's pictures as a bundle sees them, from the cache where they are there."""
    path = cache / f"{session.bundle.manifest.fingerprint[:12]}-{set_name}-{split}.npz"
    if not path.is_file():
        data = open_dataset(shared / "data" / f"{set_name}.zip", split)
        rng = np.random.default_rng(0)
        rows = np.concatenate([rng.permutation(members)[:EACH] for members in data.by_class()])
        vectors, patches = [], []
        for image in data.images(rows.tolist()):
            views = np.stack([prepare(cropped(image, share), session.spec) for share in CROPS])
            embedded, tokens = session.embed_patches(views)
            assert tokens is not None, "give a bundle with patches"
            vectors.append(embedded)
            patches.append(tokens[HALF].astype(np.float16))
        with atomic_file(path) as temporary:
            np.savez(
                temporary, vectors=np.stack(vectors), patches=np.stack(patches),
                labels=data.labels[rows], names=np.array(data.classes),
            )  # fmt: skip
    with np.load(path, allow_pickle=False) as kept:
        return Shown(
            kept["vectors"], kept["patches"], kept["labels"].astype(np.int64),
            tuple(map(str, kept["names"])),
        )  # fmt: skip


def draws(data: Shown, products: int, strangers: int, count: int) -> Iterator[Draw]:
    """Yield random draws, the same for the same arguments."""
    rng = np.random.default_rng(0)
    classes = np.unique(data.labels)
    for _ in range(count):
        drawn = rng.permutation(classes)[: products + strangers]
        rows = [rng.permutation(np.flatnonzero(data.labels == label)) for label in drawn]
        own = [r[1 : 1 + QUERIES] for r in rows[:products]]
        none = np.zeros(0, np.int64)
        yield Draw(
            drawn[:products],
            np.array([r[0] for r in rows[:products]]),
            np.concatenate(own),
            np.repeat(np.arange(products), [len(r) for r in own]),
            np.concatenate([none, *(r[:QUERIES] for r in rows[products:])]),
        )


def auroc(products: Numbers, strangers: Numbers) -> float:
    """Return the share of pairs in which the product's picture scores higher; ties count half."""
    order = np.sort(strangers)
    below = np.searchsorted(order, products, "left") + np.searchsorted(order, products, "right")
    return float(below.mean() / (2 * len(strangers)))


@dataclass(frozen=True)
class Seen:
    """Frames as they are judged: vectors (N, D), and patches (N, T, D) if they have a say."""

    vectors: Embeddings
    patches: Patches | None = None


def judged(
    prototypes: Embeddings,
    prior: Embeddings,
    seen: Callable[[NDArray[np.int64]], Seen],
    draw: Draw,
    ranking: PatchRanking | None = None,
) -> dict[str, float]:
    """Return accuracy and, with strangers, AUROC and what is named at exactly 5 %."""

    def scored(rows: NDArray[np.int64]) -> tuple[NDArray[np.intp], Numbers]:
        frames = seen(rows)
        scores = centred_cosine(frames.vectors, prototypes, centre_of(prototypes, prior))
        preferred = scores
        if ranking is not None and frames.patches is not None:
            preferred = ranking.preferences(scores, list(frames.patches.astype(np.float32)))
        best = preferred.argmax(axis=1)
        return best, scores[np.arange(len(rows)), best].astype(np.float64)

    best, top = scored(draw.queries)
    right = best == draw.truth
    found = {"right": 100 * float(right.mean())}
    if len(draw.strangers):
        _, others = scored(draw.strangers)
        found["auroc"] = 100 * auroc(top, others)
        limit = float(np.quantile(others, 0.95))
        found["named at exactly 5 %"] = 100 * float((right & (top > limit)).mean())
    return found


def mean_of(figures: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure, and of `right` half its 95 % confidence interval."""
    means = {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
    spread = np.std([f["right"] for f in figures]) / np.sqrt(len(figures))
    return {key: round(v, 2) for key, v in {**means, "ci95": 1.96 * float(spread)}.items()}


def frames_by(data: Shown, session: Session, count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return what each way of looking at a frame brings: 5-way, and 8 products and strangers."""
    info = session.bundle.manifest.patches
    assert info is not None
    prior = session.bundle.centre
    ways: dict[str, Callable[[NDArray[np.int64]], Seen]] = {
        f"crop {share:g}": lambda rows, k=k: Seen(data.vectors[rows, k])  # type: ignore[misc]
        for k, share in enumerate(CROPS)
    }
    ways["three crops"] = lambda rows: Seen(data.vectors[rows].mean(axis=1))
    ways[f"crop {FRAME_CROP:g}, patches"] = lambda rows: Seen(
        data.vectors[rows, HALF], data.patches[rows]
    )
    ways["three crops, patches"] = lambda rows: Seen(
        data.vectors[rows].mean(axis=1), data.patches[rows]
    )
    most = min(8, len(np.unique(data.labels)) // 2)
    settings = {"5-way": (5, 0, 3 * count), f"{most} products": (most, most, count)}
    result: dict[str, dict[str, dict[str, float]]] = {}
    for setting, (products, strangers, number) in settings.items():
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for draw in draws(data, products, strangers, number):
            prototypes = data.vectors[draw.snapshots].mean(axis=1)
            ranking = PatchRanking([[data.patches[row]] for row in draw.snapshots], info.weight)
            for way, seen in ways.items():
                found[way].append(judged(prototypes, prior, seen, draw, ranking))
        result[setting] = {way: mean_of(figures) for way, figures in found.items()}
    return result


@dataclass(frozen=True)
class Pages:
    """Catalogue pictures by class: as plain snapshots, in their views, and as they are kept."""

    plain: Embeddings
    views: Embeddings
    jpegs: tuple[bytes, ...]


def pages_of(shared: Path, session: Session, split: str, names: tuple[str, ...]) -> Pages:
    """Embed the catalogue picture of each class."""
    data = open_dataset(shared / "data" / "grocery_iconic.zip", split)
    images = {data.classes[data.labels[row]]: image for row, image in enumerate(_all(data))}

    def mean(views: list[NDArray[np.uint8]]) -> Embeddings:
        prepared = np.stack([prepare(view, session.spec) for view in views])
        return np.asarray(session.embed(prepared).mean(axis=0), np.float32)

    ordered = [images[name] for name in names]
    return Pages(
        np.stack([mean([cropped(image, share) for share in CROPS]) for image in ordered]),
        np.stack([mean(catalogue_views(image)) for image in ordered]),
        tuple(encode_catalogue(image) for image in ordered),
    )


def _all(data) -> Iterator[NDArray[np.uint8]]:  # type: ignore[no-untyped-def]
    yield from data.images(list(range(len(data.labels))))


def from_catalogue(
    data: Shown, pages: Pages, own: Shown, session: Session, count: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return what each way of registering by a catalogue picture brings, and a real one."""
    prior, rng = session.bundle.centre, np.random.default_rng(1)
    classes = len(np.unique(data.labels))
    result: dict[str, dict[str, dict[str, float]]] = {}
    for setting, (products, strangers) in {"16-way": (16, 0), "8 products": (8, 8)}.items():
        if classes < products + strangers:
            continue
        found: dict[str, list[dict[str, float]]] = {}
        for draw in draws(data, products, strangers, count):
            drawn = set(data.labels[np.concatenate([draw.snapshots, draw.strangers])].tolist())
            others = np.flatnonzero(~np.isin(own.labels, list(drawn)) | (own.names != data.names))
            frames = own.vectors[rng.choice(others, OWN, replace=False), HALF]
            real = data.vectors[draw.snapshots].mean(axis=1)
            views = pages.views[draw.classes]
            carried = views + shift_between(views, frames)
            ways = {
                "a real snapshot": real,
                "the page as a snapshot": pages.plain[draw.classes],
                "its six views": views,
                "carried to the station's pictures": carried,
                "that and a real snapshot": (carried + real) / 2,
            }
            for way, prototypes in ways.items():
                seen = lambda rows: Seen(data.vectors[rows, HALF])  # noqa: E731
                figures = judged(prototypes, prior, seen, draw)
                if strangers:
                    figures |= by_default(way, draw, data, pages, frames, session)
                found.setdefault(way, []).append(figures)
        result[setting] = {way: mean_of(figures) for way, figures in found.items()}
    return result


def by_default(
    way: str, draw: Draw, data: Shown, pages: Pages, frames: Embeddings, session: Session
) -> dict[str, float]:
    """Return what the program itself names and lets in, by its gallery and its defaults."""
    if way not in ("a real snapshot", "carried to the station's pictures"):
        return {}
    scoring = session.bundle.manifest.scoring.model_copy(
        update={"cohort_from_station": True, "cohort_size": len(frames)}
    )
    manifest = session.bundle.manifest.model_copy(update={"scoring": scoring})
    station = replace(session, bundle=replace(session.bundle, manifest=manifest, cohort=frames))
    with tempfile.TemporaryDirectory() as folder:
        with Gallery(Path(folder) / "g", manifest.identity, create=True) as gallery:
            for product, row in enumerate(draw.snapshots):
                kind = int(draw.classes[product])
                if way == "a real snapshot":
                    jpeg = encode_jpeg(np.full((8, 8, 3), product, np.uint8))
                    shot = Snapshot(jpeg, data.vectors[row].mean(axis=0), "real")
                else:
                    shot = Snapshot(pages.jpegs[kind], pages.views[kind], "page")
                gallery.add(str(product), [shot])
            classifier = classifier_for(gallery, station)
        told = classifier.classify(data.vectors[draw.queries, HALF])
        strangers = classifier.classify(data.vectors[draw.strangers, HALF])
    named = [d.label == str(t) for d, t in zip(told, draw.truth, strict=True)]
    return {
        "named by default": 100 * float(np.mean(named)),
        "strangers let in": 100 * float(np.mean([d.known for d in strangers])),
    }


def costs(plain: Session, patched: Session, products: int = 100) -> dict[str, float]:
    """Return milliseconds a frame, embedding and classifying, in turns: medians of 40."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    ways = {
        "one view": (plain, ViewSettings(1)),
        "three views": (plain, ViewSettings(3)),
        "one view, patches": (patched, ViewSettings(1)),
    }
    with tempfile.TemporaryDirectory() as folder:
        classifiers = {}
        for name, (session, _) in ways.items():
            identity = session.bundle.manifest.identity
            with Gallery(Path(folder) / name, identity, create=True) as gallery:
                for number in range(products):
                    jpeg = encode_jpeg(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
                    vectors, tokens = session.embed_patches(
                        rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
                    )
                    kept = None if tokens is None else tokens[0]
                    gallery.add(str(number), [Snapshot(jpeg, vectors[0], "x", kept)])
                classifiers[name] = classifier_for(gallery, session)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(43):
        for name, (session, settings) in ways.items():
            views = FrameViews(settings)
            prepared = views.prepared(image, session.spec)
            began = time.perf_counter()
            [(vector, tokens)] = views.embed(session, [prepared])
            classifiers[name].classify(vector, [tokens])
            taken[name].append(1000 * (time.perf_counter() - began))
    return {name: round(float(np.median(times[3:])), 2) for name, times in taken.items()}


def plain_bundle(shared: Path, path: Path, *options: str) -> Path:
    """Export the plain ViT-Tiny once."""
    if not (path / "manifest.json").is_file():
        weights = shared / "weights" / f"{BACKBONE}.safetensors"
        command("export", "--backbone", BACKBONE, "--weights", weights, "--out", path, *options)
    return path


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--cache", type=Path, default=Path(".out/options"))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--only", help="Comma-separated classes of the catalogue part.")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--part", choices=("all", "frames", "catalogue", "cost"), default="all")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    patched = plain_bundle(args.shared, args.cache / "patched", "--patches")
    named = {"plain ViT-Tiny": patched, **dict(item.split("=", 1) for item in args.bundle)}
    report: dict[str, object] = dict(circumstances())
    for name, path in named.items():
        session = open_session(load_bundle(path), "cpu")
        ask = lambda *which, s=session: shown(args.shared, args.cache, s, *which)  # noqa: E731
        if args.part in ("all", "frames"):
            for which in CHOOSE if args.choose else TEST:
                figures = frames_by(ask(*which), session, args.draws)
                report[f"{name}: frames, {'/'.join(which)}"] = figures
        if args.part in ("all", "catalogue"):
            split = "train" if args.choose else "test"
            data, own = ask("grocery", split), ask("grocery", "train")
            pages = pages_of(args.shared, session, split, data.names)
            kept = data.only(frozenset(args.only.split(","))) if args.only else data
            report[f"{name}: catalogue, grocery/{split}"] = from_catalogue(
                kept, pages, own, session, args.draws
            )
    if args.part in ("all", "cost"):
        without = plain_bundle(args.shared, args.cache / "plain")
        sessions = [open_session(load_bundle(path), "cpu") for path in (without, patched)]
        report["milliseconds a frame, 100 products"] = costs(*sessions)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
