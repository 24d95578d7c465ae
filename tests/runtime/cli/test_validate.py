"""`vision-edge validate`: labelled folders in, shares, a confusion matrix and a status out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from support.runtime import LABELS, invoke, invoked, noisy, picture

from vision_edge.runtime.errors import DataError


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
