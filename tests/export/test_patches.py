"""The second output: patches beside embeddings, gated, kept with snapshots, used for ranking."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.toolkit import image_of, merged_copy, qv_updates, random_images, tiny_backbone

from vision_edge.export.bundle import export_bundle
from vision_edge.export.gate.patch_agreement import judge_patches
from vision_edge.export.model.patch_tokens import patch_output, reference_patches
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.export.settings import ExportImages, ExportSettings
from vision_edge.export.triton_repository import write_triton_repository
from vision_edge.runtime.arrays import Embeddings, Image, Patches
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.crops import FRAME_CROP, cropped
from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for, ranking_of
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot
from vision_edge.toolkit.backbones.backbone import Backbone

SIDE, PATCHES = 64, 4
FRAMES = ExportImages([image_of(label, 0, size=96) for label in range(6)], "frames")


@pytest.fixture(scope="module")
def merged() -> Backbone:
    """A tiny model of sixteen patches."""
    return merged_copy(tiny_backbone(img_size=SIDE), qv_updates(rank=2))


def exported_to(folder: Path, merged: Backbone, **options: Any) -> Bundle:
    return export_bundle(
        merged.model, merged.spec, folder, name="tiny", backbone=merged.info(), images=FRAMES,
        settings=ExportSettings(**options),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(merged: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported_to(tmp_path_factory.mktemp("patches") / "bundle", merged, patches=True)


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Session:
    return open_session(bundle, "cpu", threads=1)


def test_the_graph_has_two_outputs_and_the_manifest_says_how_well_they_agree(
    bundle: Bundle,
) -> None:
    graph = onnx.load_model_from_string(bundle.model).graph
    assert [output.name for output in graph.output] == ["embeddings", "patches"]
    info = bundle.manifest.patches
    assert info is not None
    assert (info.count, info.images) == (PATCHES, 6)
    assert 0.999 < info.min_agreement <= info.mean_agreement <= 1.0 + 1e-6
    assert info.weight > 0


def test_the_embeddings_are_those_of_the_bundle_without(
    merged: Backbone, session: Session, tmp_path: Path
) -> None:
    plain = exported_to(tmp_path / "plain", merged)
    assert plain.manifest.patches is None
    assert b'"patches"' not in plain.manifest.to_bytes()
    images = random_images(3, SIDE)
    other = open_session(plain, "cpu", threads=1)
    assert np.allclose(session.embed(images), other.embed(images), atol=2e-5)
    embeddings, nothing = other.embed_patches(images)
    assert nothing is None
    assert np.array_equal(embeddings, other.embed(images))


def test_patches_are_unit_rows_whatever_the_batch_and_equal_to_pytorchs(
    merged: Backbone, session: Session
) -> None:
    images = random_images(5, SIDE)
    embeddings, patches = session.embed_patches(images)
    assert patches is not None
    assert patches.shape == (5, PATCHES, embeddings.shape[1])
    assert np.allclose(np.linalg.norm(patches, axis=2), 1.0, atol=1e-5)
    assert np.allclose(embeddings, session.embed(images), atol=1e-6)
    singly = np.concatenate([session.embed_patches(image[None])[1] for image in images])  # type: ignore[misc]
    assert np.allclose(patches, singly, atol=1e-4)
    prepared = np.stack([prepare(image, merged.spec) for image in FRAMES.images])
    output = patch_output(merged.model, merged.spec, prepared)
    expected = reference_patches(merged.model, merged.spec, images, output)
    assert np.allclose(patches, expected, atol=1e-3)


def test_a_model_whose_patches_are_others_is_refused(merged: Backbone, session: Session) -> None:
    images = random_images(3, SIDE)
    _, patches = session.embed_patches(images)
    assert patches is not None
    wrong = -patches
    with pytest.raises(ExportError, match=r"patches .fp32. disagree") as caught:
        judge_patches(session, images, wrong, ExportSettings(patches=True))
    assert "without --patches" in str(caught.value)
    assert judge_patches(session, images, patches, ExportSettings(patches=True)).images == 3


def test_earlier_blocks_may_leave_out_patches_the_last_may_not(
    merged: Backbone, tmp_path: Path
) -> None:
    limits = {"min_cosine": -1.0, "max_accuracy_drop": 100.0}
    found = exported_to(
        tmp_path / "pruned", merged, patches=True, pruning=Pruning.parse("1:0.5"), **limits
    )
    assert found.manifest.patches is not None
    assert found.manifest.patches.count == PATCHES
    assert found.manifest.patches.min_agreement > 0.999
    few = pruned(merged.model, Pruning.parse("1:0.9"))
    images = random_images(2, SIDE)
    assert patch_output(few, merged.spec, images).count == 2  # no more than are left
    with pytest.raises(ExportError, match="the last block leaves out patches"):
        exported_to(tmp_path / "x", merged, patches=True, pruning=Pruning.parse("2:0.5"))
    assert not (tmp_path / "x").exists()


def test_half_precision_keeps_the_second_output(merged: Backbone, tmp_path: Path) -> None:
    found = exported_to(tmp_path / "half", merged, patches=True, precision="fp16")
    _, patches = open_session(found, "cpu", threads=1).embed_patches(random_images(2, SIDE))
    assert patches is not None
    assert patches.dtype == np.float32
    assert np.allclose(np.linalg.norm(patches, axis=2), 1.0, atol=1e-2)


def test_triton_is_not_given_what_it_is_not_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="second output"):
        write_triton_repository(bundle, tmp_path)
    assert not list(tmp_path.iterdir())


def test_snapshots_keep_their_patches_and_lose_none_when_embedded_anew(
    session: Session, tmp_path: Path
) -> None:
    model = session.bundle.manifest.identity
    with Gallery(tmp_path / "g", model, create=True) as gallery:
        for label in range(3):
            shot = snapshot_of(image_of(label, 1, size=96), session, f"shot {label}")
            assert shot.patches is not None
            gallery.add(f"p{label}", [shot])
        kept = gallery.snapshots.all_patches(model, PATCHES)
        shown = cropped(gallery.snapshots.image(1), FRAME_CROP)
        _, expected = session.embed_patches(prepare(shown, session.spec)[None])
        assert expected is not None
        assert np.allclose(kept[1], expected[0], atol=2e-3)  # float16
        gallery.reembed(model, partial(kept_snapshot, session))
        again = gallery.snapshots.all_patches(model, PATCHES)
        assert again.keys() == kept.keys() == {1, 2, 3}
        assert all(np.array_equal(kept[i], again[i]) for i in kept)
        assert ranking_of(gallery, session.bundle) is not None
        classifier = classifier_for(gallery, session)
        embeddings, patches = session.embed_patches(prepare(shown, session.spec)[None])
        (decision,) = classifier.classify(embeddings, patches)
        (plain,) = classifier.classify(embeddings)
        assert decision.nearest == plain.nearest == "p0"
        assert decision.score == plain.score
        assert decision.known == plain.known


class Deaf:
    """An embedder without patches."""

    name = "deaf"

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec

    def embed(self, images: Image) -> Embeddings:
        return images.reshape(len(images), -1)[:, :8].astype(np.float32)


def test_where_there_are_no_patches_nothing_changes(session: Session) -> None:
    assert snapshot_of(image_of(0, 0, size=96), Deaf(session.spec), "x").patches is None


def test_a_provider_that_gives_no_patches_says_so(bundle: Bundle) -> None:
    class EmbeddingsOnly:
        def run(self, images: Image) -> Embeddings:
            return np.zeros((len(images), bundle.manifest.embedding_dim), np.float32)

    patches: Patches | None
    _, patches = Session(bundle, "engine", EmbeddingsOnly()).embed_patches(random_images(1, SIDE))
    assert patches is None
