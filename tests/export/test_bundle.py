import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from support.toolkit import (
    DIM,
    SIZE,
    Exported,
    image_of,
    leftovers,
    merged_copy,
    qv_updates,
    refusal,
    tiny_backbone,
)

from vision_edge.export import bundle as bundle_module
from vision_edge.export.bundle import GENERATED_IMAGES, export_bundle
from vision_edge.export.precision import variant as variant_module
from vision_edge.export.settings import ExportImages, ExportSettings
from vision_edge.runtime.bundles import bundle as runtime_bundle
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.bundles.manifest import COHORT_FILE, MANIFEST_FILE, MODEL_FILE
from vision_edge.runtime.errors import BundleError, ExportError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.toolkit.backbones.backbone import Backbone


@pytest.fixture
def given_onnx(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the exporter's seconds where the graph is not what is tested."""
    monkeypatch.setattr(variant_module, "to_onnx", lambda model, size: exported.bundle.model)


FRAMES = ExportImages([image_of(label, 0, size=30 + 7 * label) for label in range(5)], "frames")


def _export(
    merged: Backbone, out: Path, images: ExportImages | None = FRAMES, **options: Any
) -> Bundle:
    return export_bundle(
        merged.model,
        merged.spec,
        out,
        name="tiny",
        backbone=merged.info(),
        images=images,
        **options,
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what a bundle holds ---------------------------------------------------------------------


def test_the_manifest_says_where_the_model_comes_from(
    exported: Exported, backbone: Backbone
) -> None:
    manifest = exported.bundle.manifest
    assert (manifest.name, manifest.precision, manifest.embedding_dim) == ("tiny", "fp32", DIM)
    assert manifest.backbone == backbone.info()
    assert manifest.backbone.sha256 != exported.merged.sha256
    assert (manifest.adapter.name, manifest.adapter.method) == ("meta", "average")
    assert manifest.preprocessing == backbone.spec
    assert manifest.evaluation == {"results": []}
    assert manifest.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert {"timm", "onnx", "onnxruntime", "vision-edge"} <= manifest.versions.keys()


def test_every_file_is_listed_with_its_hash(exported: Exported) -> None:
    files = _bytes(exported.bundle.path)
    listed = exported.bundle.manifest.files
    assert files.keys() == listed.keys() | {MANIFEST_FILE} == {
        MODEL_FILE, COHORT_FILE, MANIFEST_FILE,
    }  # fmt: skip
    for name, info in listed.items():
        assert info.bytes == len(files[name])
        assert info.sha256 == hashlib.sha256(files[name]).hexdigest()


def test_the_parity_figures_are_those_of_the_images(exported: Exported) -> None:
    parity = exported.bundle.manifest.parity
    assert parity.images == GENERATED_IMAGES
    assert 0.99999 < parity.min_cosine <= parity.mean_cosine <= 1.0 + 1e-12
    assert "generated" in parity.image_source


def test_the_cohort_are_the_images_embeddings_and_the_centre_their_mean(
    exported: Exported,
) -> None:
    images = np.stack(generated_scenes(GENERATED_IMAGES, SIZE))
    expected = exported.merged.embedder().embed(images)
    np.testing.assert_allclose(exported.bundle.cohort, expected, atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(exported.bundle.centre, expected.mean(axis=0), atol=2e-5)
    scoring = exported.bundle.manifest.scoring
    assert scoring.cohort_size == GENERATED_IMAGES
    assert "generated" in scoring.cohort_source


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (40, 40), (33, 90), (200, 47), (8, 11), (720, 1280)]
)
def test_frames_of_any_shape_embed_as_with_pytorch(
    exported: Exported, height: int, width: int
) -> None:
    session = open_session(exported.bundle, "cpu", threads=1)
    frame = cv2.resize(image_of(2, 1, size=64), (width, height))
    got = embed_frame(session, frame)
    expected = embed_frame(exported.merged.embedder(), frame)
    np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-4)
    turned = embed_frame(session, np.ascontiguousarray(frame[:, ::-1]))
    assert np.abs(turned - got).max() > 1e-3


def test_the_user_s_images_of_any_shape_become_the_cohort(
    exported: Exported, tmp_path: Path, given_onnx: None
) -> None:
    bundle = _export(exported.merged, tmp_path / "b")
    embedder = exported.merged.embedder()
    expected = [embed_frame(embedder, frame, share=1.0) for frame in FRAMES.images]
    np.testing.assert_allclose(bundle.cohort, expected, atol=2e-5, rtol=1e-4)
    assert bundle.manifest.parity.images == 5
    assert bundle.manifest.scoring.cohort_source == "frames"
    assert bundle.manifest.fingerprint == exported.bundle.manifest.fingerprint


# --- the same again --------------------------------------------------------------------------


def test_two_exports_of_one_model_embed_alike_to_the_bit(
    exported: Exported, tmp_path: Path
) -> None:
    again = _export(exported.merged, tmp_path / "again", images=None)
    assert again.model == exported.bundle.model
    assert again.manifest.fingerprint == exported.bundle.manifest.fingerprint
    np.testing.assert_array_equal(again.cohort, exported.bundle.cohort)
    assert again.manifest.scoring == exported.bundle.manifest.scoring


def test_another_adapter_or_preprocessing_is_another_fingerprint(
    exported: Exported, backbone: Backbone, tmp_path: Path, given_onnx: None
) -> None:
    other = merged_copy(backbone, qv_updates(rank=3, seed=8))
    spec = PreprocessSpec(size=SIZE, crop_pct=0.8)
    cropped = Backbone("cropped", exported.merged.model, spec)
    first = exported.bundle.manifest
    second = _export(cropped, tmp_path / "b").manifest
    assert second.files[MODEL_FILE].sha256 == first.files[MODEL_FILE].sha256
    assert second.fingerprint != first.fingerprint
    with pytest.raises(ExportError, match="parity gate"):
        _export(other, tmp_path / "c")  # the graph given is that of the first adapter


# --- the gate --------------------------------------------------------------------------------


class _Wrong:
    """A session whose answers are spoiled."""

    def __init__(self, session: Session, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
        self.name, self.spec = session.name, session.spec
        self._session, self._spoil = session, spoil

    def embed(self, images: np.ndarray) -> np.ndarray:
        return self._spoil(self._session.embed(images))


SPOILS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "reversed": lambda e: e[:, ::-1],
    "noisy": lambda e: e + np.random.default_rng(0).normal(0, 0.2, e.shape).astype(np.float32),
    "not finite": lambda e: e * np.float32(np.nan),
    "cut": lambda e: e[:, :-1],
}


@pytest.mark.parametrize("kind", SPOILS)
def test_a_graph_that_disagrees_is_not_written(
    exported: Exported,
    tmp_path: Path,
    given_onnx: None,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    right = _export(exported.merged, tmp_path / "older")
    before = _bytes(right.path)
    monkeypatch.setattr(
        bundle_module, "open_session", lambda *a: _Wrong(open_session(*a), SPOILS[kind])
    )
    with pytest.raises(ExportError):
        _export(exported.merged, tmp_path / "new")
    with pytest.raises(ExportError):
        _export(exported.merged, tmp_path / "older")
    assert [path.name for path in tmp_path.iterdir()] == ["older"]
    assert _bytes(right.path) == before
    assert leftovers(tmp_path) == []


def test_the_graph_of_another_model_is_not_written(
    exported: Exported, tmp_path: Path, given_onnx: None
) -> None:
    with refusal(ExportError, "parity gate", "nothing was written"):
        _export(tiny_backbone(seed=4), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_swapped_colours_do_not_pass_the_gate(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph whose channels are in the wrong order is the mistake that the gate is for."""

    graph = onnx.load_from_string(exported.bundle.model)
    (weight,) = (t for t in graph.graph.initializer if list(t.dims) == [DIM, 3, 16, 16])
    flipped = onnx.numpy_helper.to_array(weight)[:, ::-1].copy()
    weight.CopyFrom(onnx.numpy_helper.from_array(flipped, weight.name))
    monkeypatch.setattr(variant_module, "to_onnx", lambda model, size: graph.SerializeToString())
    with refusal(ExportError, "parity gate"):
        _export(exported.merged, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_stricter_gate_can_be_asked_for(
    exported: Exported, tmp_path: Path, given_onnx: None
) -> None:
    with refusal(ExportError, "1.1"):
        _export(exported.merged, tmp_path / "b", settings=ExportSettings(min_cosine=1.1))
    with refusal(ExportError, "nan"):
        _export(exported.merged, tmp_path / "b", settings=ExportSettings(min_cosine=math.nan))
    assert list(tmp_path.iterdir()) == []


def test_a_gate_needs_two_images(exported: Exported, tmp_path: Path, given_onnx: None) -> None:
    images = ExportImages([image_of(0, 0)], "one frame")
    with refusal(ExportError, "at least 2", "one frame has 1"):
        _export(exported.merged, tmp_path / "b", images=images)


# --- writing ---------------------------------------------------------------------------------


def test_what_is_no_bundle_is_not_overwritten(
    exported: Exported, tmp_path: Path, given_onnx: None
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("precious")
    with refusal(BundleError, out):
        _export(exported.merged, out)
    assert _bytes(out) == {"chapter.txt": b"precious"}
    assert leftovers(tmp_path) == []


def test_an_older_bundle_is_replaced(exported: Exported, tmp_path: Path, given_onnx: None) -> None:
    _export(exported.merged, tmp_path / "b", evaluation={"old": 1})
    _export(exported.merged, tmp_path / "b", evaluation={"new": 2})
    assert load_bundle(tmp_path / "b").manifest.evaluation == {"new": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_interrupted_write_leaves_the_older_bundle_or_nothing(
    exported: Exported, tmp_path: Path, given_onnx: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = _export(exported.merged, tmp_path / "older")
    before = _bytes(older.path)

    def interrupted(self: Path, data: bytes) -> int:
        if self.name == MANIFEST_FILE:
            assert (self.parent / MODEL_FILE).is_file(), "the model is written before"
            raise KeyboardInterrupt
        with self.open("wb") as stream:
            return stream.write(data)

    monkeypatch.setattr(runtime_bundle.Path, "write_bytes", interrupted)
    for out in ("older", "new"):
        with pytest.raises(KeyboardInterrupt):
            _export(exported.merged, tmp_path / out)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["older"]
    assert _bytes(tmp_path / "older") == before
    assert leftovers(tmp_path) == []
    load_bundle(tmp_path / "older")
