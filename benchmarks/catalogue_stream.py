"""What the camera saw, for products that were registered by one catalogue picture each.

    python benchmarks/catalogue_stream.py --shared ../shared --features DIR          # test, once
    python benchmarks/catalogue_stream.py --shared ../shared --features DIR --choose # train

With the bundle that ships, its gallery and its defaults, on grocery: P products by one picture
each, and before the judged frames 100 others, half of them parts of the products, half strangers of
other classes than those that judge. DIR holds the bundle's views, `shipped-grocery-SPLIT-views.npz`
(`benchmarks/features.py --bundle`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from features import Features, view_features
from measured import circumstances
from numpy.typing import NDArray
from recognition_options import Pages, pages_of

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.gallery.station_frames import SeenFrame
from vision_edge.runtime.images.crops import CROPS, FRAME_CROP
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.toolkit.data.dataset import open_dataset

FRAME = CROPS.index(FRAME_CROP)
PRODUCTS, QUERIES, FRAMES, SEEN = (3, 5, 8), 10, 100, 1.7e9
Rows = NDArray[np.int64]


def judged(
    gallery: Gallery, session: Session, own: Embeddings, truth: Rows, strangers: Embeddings
) -> list[float]:
    """Return which share is nearest rightly, is named rightly, and of strangers is let in."""
    classifier = classifier_for(gallery, session)
    told, others = classifier.classify(own), classifier.classify(strangers)
    return [
        float(np.mean([d.nearest == str(t) for d, t in zip(told, truth, strict=True)])),
        float(np.mean([d.label == str(t) for d, t in zip(told, truth, strict=True)])),
        float(np.mean([d.known for d in others])),
    ]


def drawn(
    data: Features, pages: Pages, session: Session, products: int, rng: np.random.Generator
) -> list[float]:
    """Return the figures of one draw, without and with what the camera saw."""
    members = [rng.permutation(rows) for rows in data.members()]
    order = rng.permutation(len(members))
    own, others = order[:products], order[products:]
    frames = data.vectors[:, FRAME]
    queries = np.concatenate([members[c][:QUERIES] for c in own])
    truth = np.repeat(np.arange(products), QUERIES)
    strangers = np.concatenate([members[c][:QUERIES] for c in others[1::2][:8]])
    parts = rng.permutation(np.concatenate([members[c][QUERIES:] for c in own]))
    seen = rng.permutation(np.concatenate([members[c] for c in others[::2][:8]]))
    stream = rng.permutation(np.concatenate([parts[: FRAMES // 2], seen[: FRAMES // 2]]))
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery(Path(folder) / "g", session.bundle.manifest.identity, create=True) as gallery,
    ):
        for number, c in enumerate(own):
            gallery.add(str(number), [Snapshot(pages.jpegs[c], pages.views[c], "page")])
        before = judged(gallery, session, frames[queries], truth, frames[strangers])
        gallery.keep_frames([SeenFrame(row, SEEN) for row in frames[stream]])
        return before + judged(gallery, session, frames[queries], truth, frames[strangers])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--features", type=Path, default=Path(".out/features"))
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--choose", action="store_true", help="train instead of test")
    args = parser.parse_args()
    split = "train" if args.choose else "test"
    session = open_session(load_bundle(asset("bundle")), "cpu")
    names = tuple(open_dataset(args.shared / "data" / "grocery.zip", split).classes)
    pages = pages_of(args.shared, session, split, names)
    data = view_features(args.shared, args.features, "shipped", "grocery", split)
    report: dict[str, object] = {**circumstances(), "draws": args.draws}
    keys = [f"{what}{when}" for when in ("", " with what was seen") for what in
            ("nearest right", "named", "strangers let in")]  # fmt: skip
    for products in PRODUCTS:
        rng = np.random.default_rng(products)
        rows = [drawn(data, pages, session, products, rng) for _ in range(args.draws)]
        means = (100 * np.mean(rows, axis=0)).round(1).tolist()
        report[f"{products} products"] = dict(zip(keys, means, strict=True))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
