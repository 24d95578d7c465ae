"""The gate, with embedders that are functions of the pixels, so that every figure is known."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from support.toolkit import image_of, random_images, refusal

from vision_edge.export.gate.gate import Contenders, GateImages, judge
from vision_edge.export.model.pruning import Pruning
from vision_edge.export.settings import ExportSettings, LabelledImages
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.manifest import ParityInfo
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.preprocess import PreprocessSpec

Function = Callable[[Image], np.ndarray]


@dataclass
class Fake:
    """An embedder that calls a function."""

    function: Function
    name: str = "fake"
    spec: PreprocessSpec = field(default_factory=PreprocessSpec)

    def embed(self, images: Image) -> np.ndarray:
        return np.asarray(self.function(images), np.float32)


def _mean(images: Image) -> np.ndarray:
    """Mean of each row of pixels: float32 (N, 3 S)."""
    return images.astype(np.float32).mean(axis=1).reshape(len(images), -1)


def _given(images: Image, **options: Any) -> GateImages:
    return GateImages(images, "frames", images, photographs=True, **options)


def _judge(
    candidate: Function,
    images: Image,
    reference: Function = _mean,
    settings: ExportSettings | None = None,
    **options: Any,
) -> ParityInfo:
    whole = Fake(reference)
    models = Contenders(whole, whole, Fake(candidate), **options)
    return judge(models, _given(images), settings or ExportSettings())[0]


def test_what_agrees_passes_with_its_figures_and_the_candidate_s_cohort() -> None:
    images, whole = random_images(5), Fake(_mean)
    twice = Contenders(whole, whole, Fake(lambda x: _mean(x) * 2))
    info, cohort = judge(twice, _given(images), ExportSettings())
    np.testing.assert_allclose(cohort, _mean(images) * 2)
    assert (info.images, info.image_source, info.pruning) == (5, "frames", None)
    assert info.min_cosine == pytest.approx(1.0, abs=1e-9)
    assert info.asked_min_cosine == 0.9999
    assert info.accuracy is not None and info.verdicts is not None
    assert info.accuracy.float32 == info.accuracy.exported
    assert (info.accuracy.way, info.accuracy.shot, info.accuracy.query) == (5, 1, 4)
    assert info.accuracy.data == "views of frames"
    assert (info.verdicts.products, info.verdicts.agreement) == (3, 1.0)
    assert info.verdicts.pictures == 5 * 5 - 3


def test_it_names_the_one_image_that_disagrees_and_how_far() -> None:
    images = random_images(5)
    odd = images[3]

    def candidate(batch: Image) -> np.ndarray:
        result = _mean(batch)
        wrong = [np.array_equal(image, odd) for image in batch]
        result[wrong] = result[wrong][:, ::-1]
        return result

    left, right = _mean(odd[None])[0], candidate(odd[None])[0]
    cosine = float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))
    missing = f"{0.9999 - cosine:.5f}"
    with refusal(ExportError, "image 3 of 5", "0.9999", missing[:6], "nothing was written"):
        _judge(candidate, images)
    assert _judge(candidate, images, settings=ExportSettings(min_cosine=cosine - 1e-3)).images == 5


@pytest.mark.parametrize("kind", ["neighbours", "first", "not finite"])
def test_it_sees_what_only_one_image_at_a_time_shows(kind: str) -> None:
    images, first = random_images(4), []

    def stuck(batch: Image) -> np.ndarray:
        """The first answer for ever, as CUDA graphs without fixed addresses (onnxruntime#20050)."""
        first.append(_mean(batch))
        return first[0]

    kinds: dict[str, tuple[Function, Function]] = {
        "neighbours": (_mean, lambda x: _mean(x) - _mean(x).mean(axis=0)),
        "first": (stuck, _mean),
        "not finite": (lambda x: _mean(x) * np.nan, _mean),
    }
    candidate, reference = kinds[kind]
    with pytest.raises(ExportError, match="not finite" if kind == "not finite" else "parity gate"):
        _judge(candidate, images, reference)


def test_the_worst_layer_is_asked_for_with_the_worst_image_first() -> None:
    images, shown = random_images(4), []

    def blame(seen: Image) -> str:
        shown.append(seen)
        return "blocks.3.mlp.fc2"

    def candidate(batch: Image) -> np.ndarray:
        turned = np.where([[np.array_equal(image, images[2])] for image in batch], -1, 1)
        return _mean(batch) * turned

    with refusal(ExportError, "blocks.3.mlp.fc2", "image 2", "int8", "--precision fp16"):
        _judge(candidate, images, settings=ExportSettings(precision="int8"), worst_layer=blame)
    assert sorted(map(np.ndarray.tobytes, shown[0])) == sorted(map(np.ndarray.tobytes, images))
    np.testing.assert_array_equal(shown[0][0], images[2])


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        (ExportSettings(), "report this"),
        (ExportSettings(half_weights=True), "--half-weights"),
        (ExportSettings(precision="fp16"), "--precision fp32"),
        (ExportSettings(precision="int8"), "--calibrate"),
    ],
)
def test_what_to_do_depends_on_what_was_asked(settings: ExportSettings, cure: str) -> None:
    with refusal(ExportError, cure):
        _judge(lambda x: -_mean(x), random_images(3), settings=settings)


# --- accuracy --------------------------------------------------------------------------------


def _classes(count: int = 4, each: int = 8) -> LabelledImages:
    images = np.stack([image_of(c, i, 32)[:32] for c in range(count) for i in range(each)])
    return LabelledImages(images, np.repeat(np.arange(count), each), "parts/test")


def _spoiled(share: float) -> Function:
    """Embeddings that are those of another image for some images, by their pixels."""

    def function(images: Image) -> np.ndarray:
        result = _mean(images)
        wrong = np.array([int(image.sum()) % 100 < 100 * share for image in images])
        result[wrong] = np.random.default_rng(0).uniform(0, 255, (int(wrong.sum()), 96))
        return result

    return function


def test_labelled_images_decide_on_accuracy() -> None:
    data, whole = _classes(), Fake(_mean)
    given = _given(random_images(3), labelled=data)
    models = Contenders(whole, whole, Fake(_mean))
    info, _ = judge(models, given, ExportSettings())
    assert info.accuracy is not None
    accuracy = info.accuracy
    assert (accuracy.data, accuracy.way, accuracy.query) == ("parts/test", 4, 7)
    assert accuracy.float32 > 60
    worse = replace(models, candidate=Fake(_spoiled(0.5)), worst_layer=lambda _: "blocks.0.mlp.fc1")
    lenient = ExportSettings(precision="int8", min_cosine=-1.0)
    with refusal(
        ExportError, f"{accuracy.float32:.2f} %", "0.5 are allowed", "blocks.0.mlp.fc1",
        "--max-accuracy-drop",
    ):  # fmt: skip
        judge(worse, given, lenient)
    info, _ = judge(worse, given, replace(lenient, max_accuracy_drop=100.0))
    assert info.accuracy is not None and info.accuracy.exported < accuracy.float32 - 0.5
    assert info.verdicts is not None and info.verdicts.agreement < 1.0


def test_being_more_accurate_is_no_fault() -> None:
    data = _classes()
    given = _given(random_images(3), labelled=data)
    models = Contenders(*(2 * [Fake(_spoiled(0.5))]), candidate=Fake(_mean))
    models = replace(models, twin=models.whole)
    info, _ = judge(models, given, ExportSettings(min_cosine=-1.0))
    assert info.accuracy is not None and info.accuracy.exported > info.accuracy.float32


# --- pruning ---------------------------------------------------------------------------------

PRUNED = ExportSettings(pruning=Pruning(((1, 0.5), (2, 0.25))))


def _noisy(images: Image) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 25, (1, images.shape[1] * 3))
    return _mean(images) + noise


def test_pruning_is_compared_with_its_twin_and_then_with_the_whole_model() -> None:
    images = random_images(6)
    models = Contenders(Fake(_mean), Fake(_noisy), Fake(_noisy), worst_step=lambda _: "2:0.25")
    info, _ = judge(models, _given(images), replace(PRUNED, max_accuracy_drop=100.0))
    assert info.min_cosine == pytest.approx(1.0, abs=1e-9)
    assert info.pruning is not None
    assert info.pruning.steps == "1:0.5,2:0.25"
    assert 0.95 < info.pruning.min_cosine <= info.pruning.mean_cosine < 0.999
    with refusal(ExportError, "1:0.5,2:0.25", "short of 0.999", "2:0.25", "--min-cosine"):
        judge(models, _given(images), replace(PRUNED, min_cosine=0.999))
    with refusal(ExportError, "disagrees with the PyTorch one"):  # the graph is not its twin
        judge(replace(models, candidate=Fake(_mean)), _given(images), PRUNED)


# --- settings --------------------------------------------------------------------------------


def test_limits_depend_on_the_precision() -> None:
    least = {name: ExportSettings(precision=name).limits.min_cosine for name in
             ("fp32", "fp16", "int8")}  # fmt: skip
    assert least == {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}
    assert ExportSettings(precision="int8", min_cosine=0.97).limits.min_cosine == 0.97
    assert ExportSettings(precision="int8").limits.max_accuracy_drop == 0.5


def test_with_pruning_a_limit_given_is_that_to_the_whole_model() -> None:
    limits = replace(PRUNED, min_cosine=0.8, max_accuracy_drop=1.0).limits
    assert (limits.min_cosine, limits.min_pruned_cosine, limits.max_accuracy_drop) == (
        0.9999, 0.8, 1.0,
    )  # fmt: skip
    assert PRUNED.limits.max_accuracy_drop > 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "int8", "half_weights": True}, ("--half-weights", "int8")),
        ({"precision": "fp16", "half_weights": True}, ("--half-weights", "fp16")),
        ({"min_cosine": float("nan")}, ("min_cosine", "nan")),
        ({"max_accuracy_drop": float("inf")}, ("max_accuracy_drop", "inf")),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    options: dict[str, Any], words: tuple[str, ...]
) -> None:
    with refusal(ExportError, *words):
        ExportSettings(**options)
