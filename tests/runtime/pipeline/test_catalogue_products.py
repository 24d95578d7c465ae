"""Products from a catalogue: one snapshot each, the same wherever it is embedded again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.runtime import invoke, invoked, make_bundle, noisy, picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import RegistrationError, VisionEdgeError
from vision_edge.runtime.gallery.archive import write_archive
from vision_edge.runtime.gallery.archive_import import Reembedding, import_archive
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.gallery.station_frames import SeenFrame
from vision_edge.runtime.images.catalogue import catalogue_views, is_catalogue
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import (
    as_compared,
    catalogue_shift,
    classifier_for,
)
from vision_edge.runtime.pipeline.registration import (
    catalogue_picture,
    snapshot_from,
    snapshot_of,
)
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot


def page(number: int, side: int = 128) -> Image:
    """Picture `number` as a catalogue shows it."""
    image = np.full((side, side, 3), 255, np.uint8)
    image[24:104, 24:104] = np.minimum(picture(number, 80), 200)
    return image


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(4):
        assert cv2.imwrite(str(folder / f"{number}.png"), page(number))
    return folder


def add_page(gallery: Gallery, session: Session, label: str, number: int) -> None:
    gallery.add(label, [snapshot_from(catalogue_picture(page(number), label), session)])


def test_a_catalogue_picture_counts_as_one_snapshot_of_all_its_views(
    gallery: Gallery, session: Session
) -> None:
    add_page(gallery, session, "gear", 1)
    assert gallery.snapshots.catalogue() == {1}
    assert is_catalogue(gallery.snapshots.jpeg(1))
    views = [prepare(v, session.spec) for v in catalogue_views(gallery.snapshots.image(1))]
    expected = session.embed(np.stack(views)).mean(axis=0)
    assert np.allclose(gallery.prototypes()[1][0], expected, atol=1e-6)
    assert catalogue_shift(gallery, session.bundle) is not None


def test_its_embedding_is_the_same_when_it_is_made_again(
    gallery: Gallery, session: Session, tmp_path: Path
) -> None:
    add_page(gallery, session, "gear", 1)
    gallery.add("nut", [snapshot_of(picture(2, 96), session, "nut")])
    before = gallery.prototypes()[1]
    again = partial(kept_snapshot, session)
    gallery.reembed(session.bundle.manifest.identity, again)
    assert np.array_equal(gallery.prototypes()[1], before)
    write_archive(gallery, tmp_path / "archive")
    for number, anew in enumerate([None, Reembedding(session.bundle.manifest.identity, again)]):
        import_archive(tmp_path / "archive", tmp_path / f"{number}", reembedding=anew)
        with Gallery(tmp_path / f"{number}", session.bundle.manifest.identity) as other:
            assert np.array_equal(other.prototypes()[1], before)
            assert len(other.snapshots.catalogue()) == 1
            assert is_catalogue(other.snapshots.jpeg(*other.snapshots.catalogue()))


def test_it_is_carried_to_where_the_stations_own_pictures_lie(
    gallery: Gallery, session: Session
) -> None:
    for number in range(3):
        add_page(gallery, session, f"page {number}", number)
    alone = catalogue_shift(gallery, session.bundle)
    for number in range(10, 14):
        own = snapshot_of(picture(number, 96), session, "x")
        gallery.add(f"own {number}", [own])
    shift = catalogue_shift(gallery, session.bundle)
    assert alone is not None
    assert shift is not None
    labels, plain = gallery.prototypes()
    _, carried = gallery.prototypes(shift)
    kinds = np.array([label.startswith("page") for label in labels])
    assert np.allclose(carried[kinds], plain[kinds] + shift, atol=1e-5)
    assert np.array_equal(carried[~kinds], plain[~kinds])
    centre = plain[~kinds].mean(axis=0)
    before, after = (np.linalg.norm(p[kinds].mean(axis=0) - centre) for p in (plain, carried))
    assert after < before
    classifier = classifier_for(gallery, session)
    (decision,) = classifier.classify(carried[0])
    assert decision.nearest == labels[0]


def test_a_real_snapshot_beside_it_has_the_same_weight(gallery: Gallery, session: Session) -> None:
    add_page(gallery, session, "gear", 1)
    shot = snapshot_of(noisy(picture(1, 96), 5), session, "shot")
    gallery.add("gear", [shot])
    shift = catalogue_shift(gallery, session.bundle)
    assert shift is not None
    page_vector = gallery.snapshots.vectors([1], gallery.model)[0]
    expected = (page_vector + shift + shot.embedding) / 2
    assert np.allclose(gallery.prototypes(shift)[1][0], expected, atol=1e-5)


def test_a_file_from_before_there_were_catalogues_goes_on(
    gallery: Gallery, session: Session
) -> None:
    gallery.add("nut", [snapshot_of(picture(2, 96), session, "nut")])
    with closing(sqlite3.connect(gallery.path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert "catalogue" not in tables  # an older program reads what it knows
    assert gallery.snapshots.catalogue() == set()
    assert catalogue_shift(gallery, session.bundle) is None
    add_page(gallery, session, "gear", 1)
    assert gallery.snapshots.catalogue() == {2}


def test_what_is_to_be_registered_is_compared_as_it_will_be(
    gallery: Gallery, session: Session
) -> None:
    for number in range(6):
        gallery.add(f"own {number}", [snapshot_of(picture(number, 96), session, "x")])
    new = snapshot_from(catalogue_picture(page(9), "page"), session)
    own = snapshot_of(picture(20, 96), session, "x")
    compared = as_compared(gallery, session.bundle, [own, new])
    assert compared[0] is own
    gallery.add("page", [new])
    shift = catalogue_shift(gallery, session.bundle)
    assert shift is not None
    assert np.allclose(compared[1].embedding, new.embedding + shift, atol=1e-5)


def test_the_command_registers_pages_and_refuses_photographs(
    bundle_path: Path, pages: Path, shots: Path, tmp_path: Path
) -> None:
    path = tmp_path / "g"
    command = ["register", bundle_path, "gear"]
    said = invoked(*command, pages / "1.png", "--catalogue", "--gallery", path)
    assert "registered 1 snapshot(s) of 'gear'" in said
    with Gallery(path) as opened:
        assert opened.snapshots.catalogue() == {1}
    refused = invoke(*command, shots / "nut.png", "--catalogue", "--gallery", path)
    assert isinstance(refused.exception, RegistrationError)
    assert "nut.png: no plain background" in str(refused.exception)
    forced = invoked(*command, shots / "nut.png", "--catalogue", "--force", "--gallery", path)
    assert "(2 in all)" in forced
    again = invoke(*command, pages / "1.png", "--catalogue", "--gallery", path)
    assert "registered already" in str(again.exception)


@pytest.mark.parametrize("option", ["--source", "--empty", "--negative"])
def test_what_makes_no_sense_with_a_catalogue_is_not_ignored(
    bundle_path: Path, pages: Path, tmp_path: Path, option: str
) -> None:
    given = [] if option == "--negative" else [pages / "2.png"]
    result = invoke(
        "register", bundle_path, "gear", pages / "1.png", "--catalogue", option, *given,
        "--gallery", tmp_path / "g",
    )  # fmt: skip
    assert isinstance(result.exception, VisionEdgeError)
    assert {"--source": "--catalogue"}.get(option, option) in str(result.exception)
    assert not (tmp_path / "g").exists()


def test_reembedding_by_the_command_keeps_the_views(
    bundle_path: Path, pages: Path, tmp_path: Path
) -> None:
    path, other = tmp_path / "g", make_bundle(tmp_path / "other", name="other")
    invoked("register", bundle_path, "gear", pages / "1.png", "--catalogue", "--gallery", path)
    invoked("gallery", "reembed", other, "--gallery", path, "--provider", "cpu")
    session = open_session(load_bundle(other), "cpu")
    with Gallery(path) as opened:
        expected = kept_snapshot(session, opened.snapshots.jpeg(1), "x").embedding
        assert decode_image(opened.snapshots.jpeg(1), "x").shape == (128, 128, 3)
        assert np.allclose(opened.prototypes()[1][0], expected, atol=1e-6)


def test_pages_do_not_tell_what_strangers_reach_where_the_stations_own_frames_do(
    bundle_path: Path, tmp_path: Path
) -> None:
    """Two pages that are much alike make no product of them unknown in the field."""
    session = open_session(load_bundle(bundle_path), "cpu", threads=1)
    assert session.bundle.manifest.scoring.cohort_from_station
    model = session.bundle.manifest.identity
    known = {}
    for kind in ("pages", "snapshots"):
        with Gallery(tmp_path / kind, model, create=True) as gallery:
            for number in range(3):
                image = noisy(picture(1, 128), number, 30)  # three products that are much alike
                shot = snapshot_of(image, session, "x")
                if kind == "pages":
                    page_of = catalogue_picture(image, "x")
                    assert page_of.jpeg is not None
                    shot = Snapshot(page_of.jpeg, shot.embedding, "x")
                gallery.add(f"{number}", [shot])
            classifier = classifier_for(gallery, session)
            known[kind] = float(classifier.rates_for(shot.embedding, "0")[0])
    assert known["pages"] < known["snapshots"]


def test_what_the_camera_saw_carries_catalogue_pictures_and_tells_their_strangers(
    gallery: Gallery, session: Session
) -> None:
    for number in range(4):
        add_page(gallery, session, f"gear {number}", number)
    before = catalogue_shift(gallery, session.bundle)
    cohort = session.bundle.cohort
    drawn = np.random.default_rng(0).standard_normal((40, cohort.shape[1]))
    seen = (cohort.mean(axis=0) + cohort.std(axis=0) * drawn).astype(np.float32)
    gallery.keep_frames([SeenFrame(row, 1.7e9) for row in seen])
    after = catalogue_shift(gallery, session.bundle)
    apart = catalogue_shift(gallery, session.bundle, own_frames=False)
    assert before is not None and after is not None and apart is not None
    assert np.array_equal(before, apart) and not np.allclose(before, after)
    means = gallery.product_means(catalogue=True)
    gap = [np.linalg.norm(means.mean(axis=0) + s - seen.mean(axis=0)) for s in (before, after)]
    assert gap[1] < gap[0]
    rates = [
        [d.stranger_rate for d in classifier_for(gallery, session, own_frames=own).classify(seen)]
        for own in (False, True)
    ]
    assert rates[0] != rates[1]
