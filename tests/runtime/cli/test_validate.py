"""`vision-edge validate`: labelled folders in, shares, a confusion matrix and a status out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from support.runtime import LABELS, invoke, invoked, noisy, picture

from vision_edge.runtime.errors import DataError, VisionEdgeError


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three pictures of each product but one of bolt that shows a nut, and six strangers."""
    root = tmp_path / "pictures"
    for number, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for seed in range(3):
            shows = 1 if (number, seed) == (0, 2) else number
            cv2.imwrite(str(root / label / f"{seed}.png"), noisy(picture(shows, 96), 60 + seed))
    (root / "strangers").mkdir()
    for number in range(6):
        cv2.imwrite(str(root / "strangers" / f"{number}.png"), picture(30 + number, 96))
    return root


def test_shares_confusions_and_strangers_are_told(
    bundle_path: Path, registered: Path, labelled: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "v.json", tmp_path / "v.html"
    options = ["--gallery", registered, "--json", out, "--page", page]
    said = invoked("validate", bundle_path, labelled, *options)
    assert "9 picture(s) of products, 6 of strangers" in said
    assert "bolt taken for nut: 1" in said
    told = json.loads(out.read_text())
    assert told["named"] == pytest.approx(8 / 9)
    assert told["wrong"] == pytest.approx(1 / 9)
    assert told["confusion"]["bolt"] == {"bolt": 2, "nut": 1}
    assert sum(told["confusion"]["strangers"].values()) == 6
    assert [row["rate"] for row in told["rates"]] == sorted(row["rate"] for row in told["rates"])
    strangers = [row["strangers"] for row in told["rates"]]
    assert strangers == sorted(strangers)
    assert told["passed"] is True
    assert "<h2>What was said of what</h2>" in page.read_text()
    assert "Passed." in page.read_text()


def test_a_missed_limit_is_named_and_is_the_status(
    bundle_path: Path, registered: Path, labelled: Path
) -> None:
    options = ["--gallery", registered, "--min-named", "0.95", "--max-wrong", "0.5"]
    result = invoke("validate", bundle_path, labelled, *options)
    assert result.exit_code == 1
    assert "missed: named rightly: 88.9 %, asked at least 95 %" in result.output
    assert "another product:" not in result.output


@pytest.mark.parametrize("place", ["good", "line/good"])
def test_products_inside_a_folder_that_is_none_are_not_taken_for_strangers(
    bundle_path: Path, registered: Path, labelled: Path, place: str
) -> None:
    inside = labelled / place
    inside.mkdir(parents=True)
    (labelled / LABELS[0]).rename(inside / LABELS[0])
    result = invoke("validate", bundle_path, labelled, "--gallery", registered)
    assert isinstance(result.exception, DataError)
    assert f"the folder of {LABELS[0]!r} lies inside {place!r}" in str(result.exception)
    assert str(inside) in str(result.exception.fix)


def test_a_products_own_folder_may_hold_folders(
    bundle_path: Path, registered: Path, labelled: Path
) -> None:
    within = labelled / LABELS[0] / "morning" / LABELS[0]
    within.mkdir(parents=True)
    (labelled / LABELS[0] / "0.png").rename(within / "0.png")
    said = invoked("validate", bundle_path, labelled, "--gallery", registered)
    assert "9 picture(s) of products, 6 of strangers" in said


def test_without_strangers_a_limit_on_them_is_not_passed_in_silence(
    bundle_path: Path, registered: Path, labelled: Path
) -> None:
    for entry in (labelled / "strangers").iterdir():
        entry.unlink()
    said = invoked("validate", bundle_path, labelled, "--gallery", registered)
    assert "no such pictures  strangers taken for a product" in said
    result = invoke(
        "validate", bundle_path, labelled, "--gallery", registered, "--max-strangers", "0.1"
    )
    assert result.exit_code == 1
    assert "no such pictures were given" in result.output


def test_an_unreadable_picture_is_named_and_an_empty_folder_refused(
    bundle_path: Path, registered: Path, labelled: Path, tmp_path: Path
) -> None:
    (labelled / "nut" / "torn.png").write_bytes(b"no picture")
    result = invoke("validate", bundle_path, labelled, "--gallery", registered)
    assert (result.exit_code, "torn.png" in result.output) == (1, True)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        refused = invoke("validate", bundle_path, folder, "--gallery", registered)
        assert isinstance(refused.exception, DataError)


def test_what_is_passed_over_is_named_and_names_are_of_one_unicode_form(
    bundle_path: Path, registered: Path, labelled: Path, tmp_path: Path
) -> None:
    """By content and not by suffix; links are followed; a Mac's folders are the same products."""
    elsewhere = tmp_path / "elsewhere"
    (labelled / LABELS[0]).rename(elsewhere)
    (labelled / LABELS[0]).symlink_to(elsewhere)
    (elsewhere / "0.png").rename(elsewhere / "0.jfif")
    (labelled / "loose.png").write_bytes((elsewhere / "1.png").read_bytes())
    (labelled / LABELS[1] / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    out = tmp_path / "v.json"
    said = invoked(
        "validate", bundle_path, labelled, "--gallery", registered, "--json", out, "--bits", "12"
    )
    assert "9 picture(s) of products" in said
    assert "1 HEIC" in said
    assert "linked folder" in said
    told = json.loads(out.read_text())["passed_over"]
    assert told.keys() == {"HEIC", "picture in no product's folder"}


def test_of_one_product_alone_wrong_labels_and_empty_folders_are_told(
    bundle_path: Path, shots: Path, labelled: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "one.gallery"
    invoked("register", bundle_path, "bolt", shots / "bolt.png", "--gallery", gallery)
    (labelled / "nothing in it").mkdir()
    out = tmp_path / "v.json"
    said = invoked("validate", bundle_path, labelled, "--gallery", gallery, "--json", out)
    assert "3 picture(s) of products, 12 of strangers" in said  # nut and washer are not registered
    assert json.loads(out.read_text())["pictures"] == 3
    with_nothing = tmp_path / "v2.gallery"
    refused = invoke("validate", bundle_path, labelled, "--gallery", with_nothing)
    assert isinstance(refused.exception, VisionEdgeError)


def test_a_folder_whose_names_are_no_products_shows_strangers_alone(
    bundle_path: Path, registered: Path, labelled: Path, tmp_path: Path
) -> None:
    for entry in list(labelled.iterdir()):
        entry.rename(labelled / f"{entry.name} misspelt")
    out, page = tmp_path / "v.json", tmp_path / "v.html"
    options = ["--gallery", registered, "--json", out, "--page", page]
    said = invoked("validate", bundle_path, labelled, *options)
    assert "0 picture(s) of products, 15 of strangers" in said
    assert "no such pictures  named rightly" in said
    assert "no pictures of 'bolt', 'nut', 'washer'" in said
    assert "is not registered: its pictures count as strangers" in said
    assert json.loads(out.read_text())["named"] is None
    assert page.is_file()


def test_a_product_called_strangers_is_none(
    bundle_path: Path, shots: Path, labelled: Path, tmp_path: Path
) -> None:
    gallery, out = tmp_path / "u.gallery", tmp_path / "v.json"
    for label, file in (("strangers", "bolt"), ("nut", "nut"), ("washer", "washer")):
        invoked("register", bundle_path, label, shots / f"{file}.png", "--gallery", gallery)
    (labelled / "strangers").rename(labelled / "others")
    (labelled / "bolt").rename(labelled / "strangers")
    invoked("validate", bundle_path, labelled, "--gallery", gallery, "--json", out)
    answers = {
        (row["shows"], row["said"]): row["pictures"]
        for row in json.loads(out.read_text())["answers"]
    }
    assert answers["strangers", "strangers"] == 2
    assert sum(n for (shows, _), n in answers.items() if shows is None) == 6
