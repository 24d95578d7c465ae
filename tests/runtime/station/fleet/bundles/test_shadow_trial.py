"""A new bundle is judged by what it says of the station's own pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from support.runtime import LABELS, make_bundle, noisy, picture, weights

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.images.catalogue import encode_catalogue
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.station.fleet.bundles.shadow_trial import Material, compare
from vision_edge.station.fleet.bundles.trial_report import Report
from vision_edge.station.fleet.bundles.update import bounded
from vision_edge.station.settings.fleet import ShadowLimits

RELAXED = ShadowLimits(max_latency_ratio=1000.0)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Session]]:
    """The present bundle, an equal one, and one that tells nothing apart."""
    folder = tmp_path_factory.mktemp("bundles")
    blind = np.zeros_like(weights())
    blind[:, 0] = weights()[:, 0] * 1e-4
    matrices = {"present": weights(), "equal": weights() * 2.0, "blind": blind}
    yield {
        name: open_session(load_bundle(make_bundle(folder / name, matrix=matrix)), "cpu", 1)
        for name, matrix in matrices.items()
    }


@pytest.fixture
def material() -> Material:
    shots = [
        (label, noisy(picture(number, 96), 10 * number + shot))
        for number, label in enumerate(LABELS)
        for shot in range(2)
    ]
    frames = [noisy(picture(number % 3, 96), 100 + number) for number in range(6)]
    strangers = [picture(500 + number, 96) for number in range(6)]
    return Material(
        shots, [("bolt", picture(700, 96)), (None, picture(701, 96))], frames + strangers
    )


def test_an_equal_bundle_is_accepted(sessions: dict[str, Session], material: Material) -> None:
    rests: list[float] = []
    report = compare(sessions["present"], sessions["equal"], material, RELAXED, rest=rests.append)
    assert report.accepted
    assert (report.agreement, report.pictures) == (1.0, 20)
    assert (report.present.accuracy, report.new.accuracy, report.new.tested) == (1.0, 1.0, 6)
    assert report.new.fingerprint != report.present.fingerprint
    assert 0 < report.new.latency_ms <= report.new.latency_p95_ms
    assert len(rests) >= 40
    assert "accepted" in report.text()


def test_a_catalogues_pages_make_products_and_are_not_judged(
    sessions: dict[str, Session], material: Material
) -> None:
    sheet = np.full((96, 96, 3), 255, np.uint8)
    sheet[16:80, 16:80] = np.minimum(picture(500, 64), 200)  # of the first stranger
    paged = replace(material, pages=[("page", encode_catalogue(sheet))])
    report = compare(sessions["present"], sessions["equal"], paged, RELAXED)
    assert report.pictures == material.count
    assert report.agreement == 1.0
    alone = Material([], [], material.frames, [("page", encode_catalogue(sheet))])
    report = compare(sessions["present"], sessions["equal"], alone, RELAXED)
    assert report.agreement == 1.0
    assert bounded(paged, 4).pages == paged.pages


def test_a_bundle_that_tells_nothing_apart_is_refused(
    sessions: dict[str, Session], material: Material
) -> None:
    report = compare(sessions["present"], sessions["blind"], material, RELAXED)
    assert not report.accepted
    reasons = " ".join(report.reasons)
    assert "agrees on" in reasons
    assert "accuracy falls" in reasons
    assert report.differing
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert document["limits"]["min_agreement"] == 0.9
    assert document["new"]["accuracy"] < 1.0
    assert report.text().count("\n") >= 5


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (ShadowLimits(max_latency_ratio=1e-6), "times as long"),
        (ShadowLimits(max_latency_ms=1e-6, max_latency_ratio=1000.0), "1e-06 ms may"),
        (ShadowLimits(min_pictures=21, max_latency_ratio=1000.0), "20 pictures"),
    ],
)
def test_each_limit_can_refuse(
    sessions: dict[str, Session], material: Material, limits: ShadowLimits, said: str
) -> None:
    report = compare(sessions["present"], sessions["equal"], material, limits)
    assert not report.accepted
    assert said in " ".join(report.reasons)


def test_a_station_without_products_is_compared_all_the_same(sessions: dict[str, Session]) -> None:
    frames = [picture(number, 96) for number in range(5)]
    report: Report = compare(
        sessions["present"], sessions["blind"], Material([], [], frames), RELAXED
    )
    assert (report.agreement, report.present.accuracy) == (1.0, None)
    nothing = compare(sessions["present"], sessions["equal"], Material([], [], []), RELAXED)
    assert not nothing.accepted
    assert nothing.agreement is None


def test_what_an_operator_said_it_is_not_counts(sessions: dict[str, Session]) -> None:
    shots = [(label, picture(number, 96)) for number, label in enumerate(LABELS)]
    twin = noisy(picture(0, 96), 5)
    report = compare(
        sessions["present"],
        sessions["equal"],
        Material(shots, [("bolt", twin)], []),
        ShadowLimits(min_pictures=1, max_latency_ratio=1000.0),
    )
    assert (report.present.false_accepts, report.new.false_accepts) == (0, 0)
    assert report.accepted
