"""Few-shot evaluation: several embedders, the same episodes, features computed once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.data.dataset import Dataset
from vision_edge.toolkit.evaluation.episodes import (
    METRICS,
    Accuracy,
    EpisodeSettings,
    check_enough,
    episode_accuracy,
)

BATCH = 32
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Row:
    """One embedder's accuracies, by metric."""

    name: str
    accuracies: dict[str, Accuracy]


def evaluate(
    data: Dataset,
    embedders: Sequence[Embedder],
    settings: EpisodeSettings,
    metrics: Sequence[str] = tuple(METRICS),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Evaluate embedders on the same episodes.

    Args:
        data: Labelled images.
        embedders: What to compare; the first is the baseline.
        settings: Which episodes.
        metrics: Keys of `METRICS`; the first is the one reported first.
        progress: Called with images done and their total.

    Returns:
        One row an embedder, in order.

    Raises:
        DataError: If the data have too few classes or images (found before anything is embedded).
        ImageError: If an image is unreadable.
    """
    check_enough(data, settings)
    features = embed_dataset(data, embedders, progress)
    return [
        Row(
            embedder.name,
            {metric: episode_accuracy(matrix, data, settings, metric) for metric in metrics},
        )
        for embedder, matrix in zip(embedders, features, strict=True)
    ]


def embed_dataset(
    data: Dataset,
    embedders: Sequence[Embedder],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Embeddings]:
    """Embed every image with every embedder; each image is read once.

    Returns:
        One float32 (N, D) matrix an embedder.
    """
    parts: list[list[Embeddings]] = [[] for _ in embedders]
    batch: list[Image] = []
    done = 0
    for image in data.images():
        batch.append(image)
        if len(batch) == BATCH:
            done = _embed_batch(batch, embedders, parts, done)
            progress(done, len(data))
    if batch:
        done = _embed_batch(batch, embedders, parts, done)
        progress(done, len(data))
    return [np.concatenate(chunks) for chunks in parts]


def _embed_batch(
    batch: list[Image], embedders: Sequence[Embedder], parts: list[list[Embeddings]], done: int
) -> int:
    """Embed and empty the batch; images are prepared once for each distinct preprocessing."""
    prepared: dict[str, Image] = {}
    for embedder, chunks in zip(embedders, parts, strict=True):
        key = embedder.spec.model_dump_json(include={"size", "crop_pct", "interpolation"})
        if key not in prepared:
            prepared[key] = np.stack([prepare(image, embedder.spec) for image in batch])
        chunks.append(embedder.embed(prepared[key]))
    done += len(batch)
    batch.clear()
    return done


def to_document(data: Dataset, settings: EpisodeSettings, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the results for `--json`: accuracies and intervals in percent.

    `accuracy` and `ci95` are those of the first metric; all metrics are beside them.
    """
    results = []
    for row in rows:
        first = next(iter(row.accuracies.values()))
        results.append(
            {
                "name": row.name,
                "way": settings.way,
                "shot": settings.shot,
                "episodes": settings.episodes,
                "accuracy": first.mean,
                "ci95": first.ci95,
                "metrics": {name: asdict(value) for name, value in row.accuracies.items()},
            }
        )
    return {
        "data": data.name,
        "classes": len(data.classes),
        "images": len(data),
        "metric": next(iter(rows[0].accuracies)),
        **asdict(settings),
        "results": results,
    }


def check_plot_path(path: Path) -> None:
    """Raise `VisionEdgeError` unless the suffix says PNG, SVG or PDF."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise VisionEdgeError(
            f"{path}: cannot draw a file with the suffix {path.suffix!r}",
            fix=f"use one of {', '.join(PLOT_SUFFIXES)}",
        )


def plot(path: Path, document: dict[str, Any]) -> None:
    """Draw accuracies with their intervals as a bar chart: PNG, SVG or PDF, by the suffix.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        VisionEdgeError: If the suffix is another.
    """
    check_plot_path(path)
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    results = document["results"]
    names = [result["name"] for result in results]
    values = [result["accuracy"] for result in results]
    height = 1.6 + 0.5 * len(results)
    figure, axes = pyplot.subplots(figsize=(8, height), layout="constrained")
    colours = ["#9aa5b1", *["#2f6f9f"] * (len(results) - 1)]
    errors = [result["ci95"] for result in results]
    bars = axes.barh(names, values, xerr=errors, color=colours, ecolor="#333333", capsize=3)
    labels = [f"{v:.1f} ± {e:.1f}" for v, e in zip(values, errors, strict=True)]
    axes.bar_label(bars, labels=labels, padding=6)
    low = min(values) - max(errors) - 5
    axes.set_xlim(max(0.0, low), min(112.0, max(values) + 8))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"accuracy in %, with 95 % interval over {document['episodes']} episodes")
    axes.set_title(
        f"{document['data']}: {document['way']}-way {document['shot']}-shot, {document['metric']}"
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)
