"""`vision-edge run`: registered products by name, strangers as unknown, one line a verdict."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import (
    LABELS,
    invoke,
    invoked,
    make_bundle,
    noisy,
    picture,
    vision_edge,
    weights,
)

from vision_edge.cli.declarations import OptionError
from vision_edge.runtime.errors import GalleryError, SourceError, VisionEdgeError

KEYS = {"time", "source", "frame", "age_ms", "label", "score", "margin", "known", "nearest"}
KEYS |= {"band", "stranger_rate"}
SHOWS = [2, 0, 30, 1, 0]  # picture 30 is a stranger
NAMES = ["washer", "bolt", None, "nut", "bolt"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of new shots: washer, bolt, a stranger, nut, bolt."""
    folder = tmp_path_factory.mktemp("line")
    for number, shows in enumerate(SHOWS):
        cv2.imwrite(str(folder / f"{number}.png"), noisy(picture(shows, 120), 50 + number))
    return folder


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def test_from_a_snapshot_to_verdicts_in_real_processes(
    bundle_path: Path, shots: Path, line: Path, tmp_path: Path
) -> None:
    gallery = ["--gallery", tmp_path / "g"]
    for label in LABELS:
        done = vision_edge("register", bundle_path, label, shots / f"{label}.png", *gallery)
        assert (done.returncode, done.stderr) == (0, "")
    done = vision_edge("run", bundle_path, line, *gallery, "--jsonl", tmp_path / "out.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 product(s), unknown where over 5 % of strangers" in done.stderr
    assert "5 verdict(s)" in done.stderr
    rows = documents(tmp_path / "out.jsonl")
    assert all(set(row) == KEYS for row in rows)
    assert [row["label"] for row in rows] == NAMES
    assert [row["known"] for row in rows] == [name is not None for name in NAMES]
    assert [row["frame"] for row in rows] == list(range(5))
    assert [row["source"] for row in rows] == [str(line / f"{k}.png") for k in range(5)]
    assert all(row["score"] > 0.9 for row in rows if row["known"])
    assert all(0 < row["age_ms"] < 60_000 for row in rows)


def test_without_a_file_the_verdicts_are_printed(
    bundle_path: Path, registered: Path, line: Path
) -> None:
    said = invoked("run", bundle_path, line, "--gallery", registered)
    rows = [row for row in said.splitlines() if row.startswith(str(line))]
    assert len(rows) == 5
    for number, (row, name) in enumerate(zip(rows, NAMES, strict=True)):
        assert f"{number}.png  #{number}  {name or 'unknown (nearest '}" in row
        assert "score " in row
        assert "margin " in row
        assert " ms" in row
    assert "     2  bolt" in said


@pytest.mark.parametrize("count", [1, 3, 99])
def test_it_stops_after_so_many_verdicts(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path, count: int
) -> None:
    options = ["--gallery", registered, "--jsonl", tmp_path / "o", "--max-frames", count]
    invoked("run", bundle_path, line, *map(str, options))
    assert [row["label"] for row in documents(tmp_path / "o")] == NAMES[:count]


def test_a_closed_set_has_no_strangers_and_a_high_threshold_no_friends(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    options = ["--gallery", registered, "--jsonl", tmp_path / "o"]
    invoked("run", bundle_path, line, *options, "--closed-set")
    closed = documents(tmp_path / "o")
    assert all(row["known"] for row in closed)
    assert closed[2]["label"] == closed[2]["nearest"]
    invoked("run", bundle_path, line, *options, "--threshold", "1.1")
    strict = documents(tmp_path / "o")
    assert not any(row["known"] for row in strict)
    assert [row["label"] for row in strict] == [None] * 5
    assert [row["nearest"] for row in strict] == [row["nearest"] for row in closed]
    assert [row["score"] for row in strict] == [row["score"] for row in closed]


def test_a_lower_false_accept_rate_accepts_less(
    bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    for percent in range(0, 101, 5):  # from a product to a stranger, in steps
        blend = cv2.addWeighted(
            picture(1, 120), 1 - percent / 100, picture(77, 120), percent / 100, 0
        )
        cv2.imwrite(str(tmp_path / f"{percent:03d}.png"), blend)

    def unknown(rate: str) -> int:
        folder = tmp_path / "*.png"
        said = invoked("run", bundle_path, folder, "--gallery", registered, "--far", rate)
        return said.count("(nearest")

    assert unknown("0.000001") > unknown("0.4")


def test_an_annotated_video_image_and_folder_are_saved(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    start = ["run", bundle_path, line, "--gallery", registered, "--save"]
    invoked(*start, tmp_path / "out.mp4")
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    count = 0
    while video.read()[0]:
        count += 1
    assert count == 5
    invoked(*start, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 5
    invoked(
        "run", bundle_path, line / "1.png", "--gallery", registered, "--save", tmp_path / "1.png"
    )
    saved, plain = (cv2.imread(str(folder / "1.png")) for folder in (tmp_path, line))
    assert saved.shape == plain.shape
    assert np.array_equal(saved[5:100, 5:-5], plain[5:100, 5:-5])
    assert not np.array_equal(saved[-10:], plain[-10:])


def test_unreadable_images_are_named_and_the_others_judged(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "line"
    folder.mkdir()
    for path in line.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "1.png").write_bytes(b"torn")
    (folder / "9.png").write_bytes(b"")
    options = ["--gallery", registered, "--jsonl", tmp_path / "o"]
    done = vision_edge("run", bundle_path, folder, *options)
    assert done.returncode == 1
    assert f"skipped: {folder / '1.png'}: not an image" in done.stderr
    assert f"skipped: {folder / '9.png'}: the file is empty" in done.stderr
    assert f"error: 2 image(s) of {folder} could not be read" in done.stderr
    assert "Traceback" not in done.stderr
    rows = documents(tmp_path / "o")
    assert [(row["frame"], row["label"]) for row in rows] == [
        (0, "washer"),
        (2, None),
        (3, "nut"),
        (4, "bolt"),
    ]


def refused(kind: type[VisionEdgeError], *arguments: Any) -> str:
    """Run a command that must be refused with an error of this kind; return its message."""
    result = invoke("run", *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


def test_a_run_that_cannot_start_leaves_older_results(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    older = tmp_path / "out.jsonl"
    older.write_text("older\n")
    options = ["--gallery", registered, "--jsonl", older]
    assert "no images" in refused(SourceError, bundle_path, tmp_path, *options)
    assert "is no camera" in refused(SourceError, bundle_path, tmp_path / "absent", *options)
    both = [*options, "--save", tmp_path / "all.png"]
    assert "one image file cannot hold all" in refused(VisionEdgeError, bundle_path, line, *both)
    assert older.read_text() == "older\n"


def test_a_gallery_that_does_not_serve_is_refused(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    absent = [line, "--gallery", tmp_path / "absent"]
    assert "no gallery here" in refused(GalleryError, bundle_path, *absent)
    assert not (tmp_path / "absent").exists()
    other = make_bundle(tmp_path / "other", matrix=weights(seed=5))
    assert "reembed" in refused(GalleryError, other, line, "--gallery", registered)
    for label in LABELS:
        invoked("gallery", "remove", label, "--gallery", registered)
    said = refused(VisionEdgeError, bundle_path, line, "--gallery", registered)
    assert "no products to compare with" in said


def test_options_of_parts_are_refused_where_frames_are_judged(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    parts = ["--debounce", "5", "--interval", "9", "--consensus", "votes"]
    others = ["--rotate-mb", "1", "--empty", "/nonexistent.jpg"]
    for option in (parts[:2], parts[2:4], parts[4:], others[:2], others[2:]):
        given = [bundle_path, line, "--gallery", registered, "--csv", tmp_path / "o", *option]
        assert f"{option[0]} belongs to --" in refused(OptionError, *given)
        assert not (tmp_path / "o").exists()


def test_how_many_there_were_of_each_product_is_written(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    rows, counts = tmp_path / "rows.jsonl", tmp_path / "counts.json"
    given = ["--gallery", registered, "--jsonl", rows, "--counts", counts]
    invoke("run", bundle_path, line, *given)
    labels = Counter(json.loads(row)["label"] for row in rows.read_text().splitlines())
    written = json.loads(counts.read_text())
    assert written["products"] == {label: n for label, n in labels.items() if label}
    assert written["unknown"] == labels[None]
    assert written["verdicts"] == sum(labels.values()) > 0
    assert (written["missed"], written["brief"]) == (0, 0)


@pytest.mark.parametrize("rate", ["0", "1", "-0.5", "nan"])
def test_a_rate_that_is_none_is_refused(
    bundle_path: Path, registered: Path, line: Path, rate: str
) -> None:
    said = refused(VisionEdgeError, bundle_path, line, "--gallery", registered, "--far", rate)
    assert "between 0 and 1" in said


def test_removed_renamed_and_rolled_back_products_show_in_the_verdicts(
    bundle_path: Path, registered: Path, line: Path, tmp_path: Path
) -> None:
    def labels() -> list[Any]:
        options = ["--gallery", registered, "--jsonl", tmp_path / "o", "--threshold", "0.9"]
        invoked("run", bundle_path, line, *options)
        return [row["label"] for row in documents(tmp_path / "o")]

    invoked("gallery", "rename", "bolt", "M6 bolt", "--gallery", registered)
    invoked("gallery", "remove", "nut", "--gallery", registered)
    assert labels() == ["washer", "M6 bolt", None, None, "M6 bolt"]
    invoked("gallery", "rollback", "3", "--gallery", registered)
    assert labels() == NAMES
