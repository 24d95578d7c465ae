"""`vision-edge run --expect NAME`: each verdict says whether it is the product that should be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.runtime import invoke, invoked, noisy, picture

from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session
from vision_edge.runtime.pipeline.gallery_classifier import CurrentClassifier

SHOWS = [2, 0, 30]  # washer, bolt, a stranger


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of new shots: washer, bolt, a stranger."""
    folder = tmp_path_factory.mktemp("line")
    for number, shows in enumerate(SHOWS):
        cv2.imwrite(str(folder / f"{number}.png"), noisy(picture(shows, 120), 50 + number))
    return folder


def told(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    return [row["verification"] for row in rows]


def test_right_and_wrong_in_json_table_and_words(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    options = ["--gallery", registered, "--expect", "bolt"]
    said = invoked("run", bundle_path, line, *options)
    rows = [row for row in said.splitlines() if row.startswith(str(line))]
    assert "every part should be 'bolt'" in said
    assert "#0  WRONG (nearer to another product)  washer" in rows[0]
    assert "#1  RIGHT  bolt" in rows[1]
    assert "RIGHT" not in rows[2]
    assert "     1  right" in said
    sinks = ["--jsonl", tmp_path / "o.jsonl", "--csv", tmp_path / "o.csv", "--save", tmp_path / "p"]
    invoked("run", bundle_path, line, *options, *sinks)
    answers = told(tmp_path / "o.jsonl")
    assert [one["expected"] for one in answers] == ["bolt"] * 3
    assert [one["answer"] for one in answers][:2] == ["wrong", "right"]
    assert answers[1]["wrong_rate"] <= 0.05
    assert answers[1]["reason"] == ""
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["verification"] for row in table] == [one["answer"] for one in answers]
    assert {row["expected"] for row in table} == {"bolt"}
    assert [row["label"] for row in table][:2] == ["washer", "bolt"]
    assert len(list((tmp_path / "p").iterdir())) == 3


def test_without_an_expected_product_the_columns_are_empty(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    invoked("run", bundle_path, line, "--gallery", registered, "--csv", tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["expected"] for row in csv.DictReader(stream)} == {""}


def test_a_product_that_is_not_registered_cannot_be_expected(
    bundle_path: Path, registered: Path, line: Path, session: Session
) -> None:
    run = ["run", bundle_path, line, "--gallery", registered, "--expect"]
    result = invoke(*run, "screw")
    assert isinstance(result.exception, GalleryError)
    assert "'screw' is not registered" in str(result.exception)
    assert "'bolt'" in str(result.exception)
    with Gallery(registered, session.bundle.manifest.identity) as gallery:
        gallery.rename("bolt", "bolt M8")
        gallery.rename("bolt M8", "bolt M8x20")
    result = invoke(*run, "bolt")
    assert "(it is called 'bolt M8x20' now)" in str(result.exception)


def test_a_product_that_is_removed_during_a_run_makes_every_part_unsure(
    registered: Path, session: Session
) -> None:
    heard: list[int] = []
    classifier = CurrentClassifier(
        registered,
        session,
        expected="bolt",
        every=0.0,
        changed=lambda version, count: heard.append(count),
    )
    embedding = embed_frame(session, picture(0, 120))
    assert [one.verification.answer for one in classifier.classify(embedding)] == ["right"]  # type: ignore[union-attr]
    for label in ("bolt", "nut", "washer"):
        with Gallery(registered, session.bundle.manifest.identity) as gallery:
            gallery.remove(label)
        [decision] = classifier.classify(embedding)
        assert decision.verification is not None
        assert (decision.verification.answer, decision.verification.reason) == (
            "unsure",
            "not-registered",
        )
    assert heard == [2, 1, 0]
