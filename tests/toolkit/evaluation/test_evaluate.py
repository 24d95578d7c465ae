import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toolkit import class_folders, refusal, tiny_backbone

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import DataError
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.data import dataset as data_module
from vision_edge.toolkit.data.dataset import Dataset, open_dataset
from vision_edge.toolkit.evaluation import evaluate as evaluate_module
from vision_edge.toolkit.evaluation.episodes import METRICS, EpisodeSettings, episode_accuracy
from vision_edge.toolkit.evaluation.evaluate import chart, embed_dataset, evaluate, to_document

FEW = EpisodeSettings(way=3, shot=1, query=4, episodes=20)


@dataclass
class MeanColour:
    """An embedder that needs no model: the mean colour, and how often it was called."""

    name: str = "colour"
    spec: PreprocessSpec = field(default_factory=lambda: PreprocessSpec(size=16))
    batches: list[int] = field(default_factory=list)

    def embed(self, images: Image) -> np.ndarray:
        self.batches.append(len(images))
        return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def data(image_folder: Path) -> Dataset:
    return open_dataset(image_folder, "test")


def test_features_are_those_of_each_image_alone(data: Dataset, backbone: Backbone) -> None:
    embedders = [backbone.embedder(), MeanColour()]
    features = embed_dataset(data, embedders)
    for embedder, matrix in zip(embedders, features, strict=True):
        alone = [embedder.embed(prepare(image, embedder.spec)[None]) for image in data.images()]
        np.testing.assert_allclose(matrix, np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize(
    "other", [{"size": 24}, {"crop_pct": 0.5}, {"size": 48, "interpolation": "bilinear"}]
)
def test_embedders_that_prepare_images_otherwise_each_get_their_own(
    data: Dataset, other: dict[str, Any]
) -> None:
    first = PreprocessSpec(size=other.get("size", 16) if "interpolation" in other else 16)
    second = PreprocessSpec(**{"size": 16, **other})
    embedders = [MeanColour(spec=first), MeanColour(spec=second)]
    features = embed_dataset(data, embedders)
    for embedder, matrix in zip(embedders, features, strict=True):
        np.testing.assert_array_equal(matrix, embedder.embed(data.prepared(embedder.spec)))
    assert not np.array_equal(*features)


def test_each_image_is_read_once_and_prepared_once_for_each_size(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, prepared = [], []
    read_image = data_module.read_image
    monkeypatch.setattr(
        data_module, "read_image", lambda p, r: (read.append(p), read_image(p, r))[1]
    )
    monkeypatch.setattr(
        evaluate_module, "prepare", lambda i, s: (prepared.append(s.size), prepare(i, s))[1]
    )
    other_mean = PreprocessSpec(size=16, mean=(0.1, 0.2, 0.3))
    embed_dataset(
        data,
        [MeanColour(), MeanColour(spec=other_mean), MeanColour(spec=PreprocessSpec(size=24))],
    )
    assert len(read) == len(set(read)) == len(data)
    assert prepared.count(16) == prepared.count(24) == len(data)


def test_the_last_batch_is_not_forgotten(image_folder: Path) -> None:
    data = open_dataset(image_folder)  # 56 images
    embedder, steps = MeanColour(), []
    (matrix,) = embed_dataset(data, [embedder], lambda done, total: steps.append((done, total)))
    assert embedder.batches == [32, 24]
    assert steps == [(32, 56), (56, 56)]
    assert matrix.shape == (56, 3)


def test_rows_are_the_accuracies_of_each_embedder(data: Dataset, backbone: Backbone) -> None:
    embedders = [backbone.embedder("plain"), MeanColour()]
    rows = evaluate(data, embedders, FEW)
    assert [row.name for row in rows] == ["plain", "colour"]
    for row, embedder in zip(rows, embedders, strict=True):
        matrix = embedder.embed(data.prepared(embedder.spec))
        assert row.accuracies.keys() == METRICS.keys()
        for metric, accuracy in row.accuracies.items():
            expected = episode_accuracy(matrix, data, FEW, metric)
            assert accuracy.mean == pytest.approx(expected.mean, abs=0.5)
    assert rows[1].accuracies["euclidean"].mean > 95, "the classes differ in colour"


def test_the_same_seed_gives_the_same_figures(data: Dataset, backbone: Backbone) -> None:
    first, second = (evaluate(data, [tiny_backbone().embedder()], FEW) for _ in range(2))
    assert first == second


def test_too_little_data_are_refused_before_anything_is_embedded(data: Dataset) -> None:
    embedder = MeanColour()
    with refusal(DataError, "need 16"):
        evaluate(data, [embedder], EpisodeSettings(way=3))
    with refusal(DataError, "5-way"):
        evaluate(data, [embedder], EpisodeSettings(way=5, query=2))
    assert embedder.batches == []


def test_an_unreadable_image_is_passed_over_and_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "parts", classes=3, count=8)
    (root / "k02" / "5.png").write_bytes(b"")
    used: list[Dataset] = []
    rows = evaluate(open_dataset(root), [MeanColour()], FEW, used=used.append)
    assert len(used[0]) == 23
    document = to_document(used[0], FEW, rows)
    assert document["images"] == 23
    assert document["passed_over"] == {"empty file": {"count": 1, "names": ["k02/5.png"]}}


def test_a_class_without_readable_images_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "parts", classes=3, count=6)
    for path in (root / "k02").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with refusal(DataError, "'k02'", "cut short"):
        evaluate(open_dataset(root), [MeanColour()], FEW)


def _document(data: Dataset, names: Sequence[str]) -> dict[str, Any]:
    return to_document(data, FEW, evaluate(data, [MeanColour(name) for name in names], FEW))


def test_the_document_keeps_its_contract(data: Dataset) -> None:
    document = json.loads(json.dumps(_document(data, ["one", "two"])))
    assert [result["name"] for result in document["results"]] == ["one", "two"]
    for result in document["results"]:
        assert {"name", "way", "shot", "episodes", "accuracy", "ci95"} <= result.keys()
        assert (result["way"], result["shot"], result["episodes"]) == (3, 1, 20)
        first = result["metrics"][document["metric"]]
        assert (result["accuracy"], result["ci95"]) == (first["mean"], first["ci95"])
        assert 90 < result["accuracy"] <= 100
    assert document["metric"] == "centred-cosine"
    assert (document["classes"], document["images"], document["seed"]) == (3, 24, 0)


def test_the_chart_shows_each_embedder_with_its_interval(data: Dataset) -> None:
    document = _document(data, ["one", "two"])
    drawn = chart(document).__html__()
    for result in document["results"]:
        assert f">{result['name']}</text>" in drawn
        assert f">{result['accuracy']:.1f} ± {result['ci95']:.1f}</text>" in drawn
    assert "3-way 1-shot" in drawn and "centred-cosine" in drawn
