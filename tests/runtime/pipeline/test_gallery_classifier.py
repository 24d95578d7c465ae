"""Products registered while a run goes on count; a gallery in trouble changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.runtime import make_bundle, noisy, picture

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import GalleryError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier
from vision_edge.runtime.pipeline.registration import snapshot_of


@pytest.fixture
def session(tmp_path: Path) -> Session:
    make_bundle(tmp_path / "bundle")
    return open_session(load_bundle(tmp_path / "bundle"), "cpu")


@pytest.fixture
def path(tmp_path: Path, session: Session) -> Path:
    register(tmp_path / "g.db", session, "bolt", 0, create=True)
    return tmp_path / "g.db"


def register(path: Path, session: Session, label: str, shows: int, *, create: bool = False) -> None:
    with Gallery(path, session.bundle.manifest.identity, create=create) as gallery:
        gallery.add(label, [snapshot_of(picture(shows), session, label)])


def nearest(classifier: CurrentClassifier, session: Session, shows: int) -> str:
    (decision,) = classifier.classify(embed_frame(session, noisy(picture(shows), 9)))
    return decision.nearest


def test_what_is_registered_meanwhile_counts(path: Path, session: Session) -> None:
    told: list[tuple[int, int]] = []
    classifier = CurrentClassifier(
        path, session, every=0, changed=lambda version, count: told.append((version, count))
    )
    assert nearest(classifier, session, 1) == "bolt"
    register(path, session, "nut", 1)
    assert nearest(classifier, session, 1) == "nut"
    assert nearest(classifier, session, 0) == "bolt"
    assert told == [(2, 2)]


def test_between_two_looks_nothing_is_read(path: Path, session: Session) -> None:
    classifier = CurrentClassifier(path, session, every=3600)
    register(path, session, "nut", 1)
    assert nearest(classifier, session, 1) == "bolt"


def test_without_products_everything_is_unknown(path: Path, session: Session) -> None:
    classifier = CurrentClassifier(path, session, every=0, threshold=-1.0)
    with Gallery(path, session.bundle.manifest.identity) as gallery:
        gallery.remove("bolt")
    (decision,) = classifier.classify(embed_frame(session, picture(0)))
    assert not decision.known
    assert decision.label is None
    register(path, session, "nut", 1)
    assert nearest(classifier, session, 1) == "nut"


def test_a_gallery_in_trouble_leaves_what_was_known(path: Path, session: Session) -> None:
    problems: list[GalleryError] = []
    classifier = CurrentClassifier(path, session, every=0, problem=problems.append)
    aside = path.with_name("aside")
    aside.mkdir()
    for file in path.parent.glob("g.db*"):
        shutil.move(file, aside / file.name)
    assert nearest(classifier, session, 0) == "bolt"
    assert nearest(classifier, session, 0) == "bolt"
    assert len(problems) == 1
    for file in aside.iterdir():
        shutil.move(file, path.parent / file.name)
    register(path, session, "nut", 1)
    assert nearest(classifier, session, 1) == "nut"


def test_it_begins_with_a_product(tmp_path: Path, session: Session) -> None:
    with Gallery(tmp_path / "g.db", session.bundle.manifest.identity, create=True):
        pass
    with pytest.raises(VisionEdgeError, match="no products"):
        CurrentClassifier(tmp_path / "g.db", session)


@pytest.mark.parametrize("in_place", [False, True])
def test_another_gallery_of_the_same_version_is_noticed(
    path: Path, session: Session, in_place: bool
) -> None:
    told: list[tuple[int, int]] = []
    classifier = CurrentClassifier(path, session, every=0, changed=lambda *new: told.append(new))
    other = path.with_name("other.db")
    register(other, session, "nut", 1, create=True)
    if in_place:
        shutil.copyfile(other, path)
    else:
        other.replace(path)
    assert nearest(classifier, session, 0) == "nut"
    assert told == [(1, 1)]
