"""Few-shot evaluation: several embedders, the same episodes, features computed once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import ImageError
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.reports.charts import Interval, interval_chart
from vision_edge.runtime.reports.drawing import Drawing
from vision_edge.toolkit.data.dataset import Dataset, OnBad
from vision_edge.toolkit.evaluation.episodes import (
    METRICS,
    Accuracy,
    EpisodeSettings,
    check_enough,
    episode_accuracy,
)

BATCH = 32


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
    used: Callable[[Dataset], None] = lambda data: None,
) -> list[Row]:
    """Evaluate embedders on the same episodes; images that cannot be read are passed over.

    Args:
        data: Labelled images.
        embedders: What to compare; the first is the baseline.
        settings: Which episodes.
        metrics: Keys of `METRICS`; the first is the one reported first.
        progress: Called with images done and their total.
        used: Called with the data as they were used: without unreadable images, which its
            `found` names.

    Returns:
        One row an embedder, in order.

    Raises:
        DataError: If the data have too few classes or images (found before anything is embedded,
            and again without those that cannot be read).
        UnsaidError: If an image leaves open how it is to be read.
    """
    check_enough(data, settings)
    bad: dict[int, ImageError] = {}
    features = embed_dataset(data, embedders, progress, bad.__setitem__)
    data = data.without(bad)
    used(data)
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
    on_bad: OnBad | None = None,
) -> list[Embeddings]:
    """Embed every image with every embedder; each image is read once.

    Args:
        data: The images.
        embedders: What embeds them.
        progress: Called with images done and their total.
        on_bad: Called with index and error of each that is unreadable, which gets no row then.

    Returns:
        One float32 (N, D) matrix an embedder.

    Raises:
        ImageError: If one is unreadable and there is no `on_bad`.
    """
    parts: list[list[Embeddings]] = [[] for _ in embedders]
    batch: list[Image] = []
    done = 0
    for image in data.images(on_bad=on_bad):
        batch.append(image)
        if len(batch) == BATCH:
            done = _embed_batch(batch, embedders, parts, done)
            progress(done, len(data))
    if batch:
        done = _embed_batch(batch, embedders, parts, done)
        progress(done, len(data))
    return [np.concatenate(chunks or [np.empty((0, 0), np.float32)]) for chunks in parts]


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
        "passed_over": data.found.passed_over.document(),
        "taken_all_the_same": data.found.notes.document(),
        "background": data.reading.background_text,
        "bits": data.reading.bits,
        "metric": next(iter(rows[0].accuracies)),
        **asdict(settings),
        "results": results,
    }


def chart(document: Mapping[str, Any]) -> Drawing:
    """Draw what `to_document` returned: accuracies with their intervals, beside the first one."""
    values = [Interval(r["name"], r["accuracy"], r["ci95"]) for r in document["results"]]
    title = f"{document['data']}: {document['way']}-way {document['shot']}-shot"
    over = f"with 95 % interval over {document['episodes']} episodes, {document['metric']}"
    return interval_chart(title, f"accuracy in %, {over}", values)
