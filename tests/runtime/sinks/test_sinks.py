"""Sinks: lines that parse, videos that play, pictures with the verdict on them."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.coding import encode_jpeg, read_image
from vision_edge.runtime.recognition.part_consensus import PartVerdict
from vision_edge.runtime.recognition.prototypes import Decision
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.recognition.verification import Verification
from vision_edge.runtime.sinks.annotated import (
    ImageSink,
    OneImageSink,
    VideoSink,
    annotate,
    annotated_sink,
)
from vision_edge.runtime.sinks.review_folder import ReviewSink
from vision_edge.runtime.sinks.sink import Sinks
from vision_edge.runtime.sinks.tables import CsvSink, JsonlSink
from vision_edge.runtime.sources.frame import Frame

KEYS = ["time", "source", "frame", "age_ms", "label", "score", "margin", "known", "nearest"]
KEYS += ["band", "stranger_rate"]


def shot(number: int = 0, image: Any = None, label: str | None = "nut") -> tuple[Frame, Verdict]:
    """Return a frame and the verdict on it."""
    image = picture(number) if image is None else image
    decision = Decision(label, label or "nut", 0.75, 0.25, label is not None)
    frame = Frame(image, f"in/part {number}.png", number, 0.0)
    return frame, Verdict(datetime.now(timezone.utc), frame.source, number, 1.5, decision)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_jsonl_holds_one_object_a_verdict_with_these_keys(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    labels = ["nut", None, "Stück ⚙", 'a"b']
    with Sinks(JsonlSink(path)) as sinks:
        for number, label in enumerate(labels):
            sinks.write(*shot(number, label=label))
    data = path.read_bytes()
    assert data.endswith(b"\n")
    documents = [json.loads(line) for line in data.decode("utf-8").splitlines()]
    assert [list(document) for document in documents] == [KEYS] * 4
    assert [document["label"] for document in documents] == labels
    assert [document["known"] for document in documents] == [True, False, True, True]
    assert [document["frame"] for document in documents] == [0, 1, 2, 3]
    assert documents[0]["source"] == "in/part 0.png"
    assert (documents[0]["score"], documents[0]["margin"]) == (0.75, 0.25)


def test_each_line_is_on_the_disk_at_once(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "out.jsonl")
    for number in range(3):
        sink.write(*shot(number))
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == number + 1
    sink.close()


def test_an_older_file_stays_until_the_first_verdict(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("older\n")
    with Sinks(JsonlSink(path)):
        pass
    assert path.read_text() == "older\n"
    with Sinks(JsonlSink(path)) as sinks:
        sinks.write(*shot())
    assert len(path.read_text().splitlines()) == 1
    assert "older" not in path.read_text()


def frames_of(path: Path) -> list[Any]:
    video, frames = cv2.VideoCapture(str(path)), []
    assert video.isOpened()
    while (read := video.read())[0]:
        frames.append(read[1])
    video.release()
    return frames


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".MP4", ".mov"])
def test_a_video_plays_and_has_every_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    with Sinks(annotated_sink(path, 12.5, None)) as sinks:
        for number in range(9):
            sinks.write(*shot(number, np.full((48, 64, 3), number * 25, np.uint8)))
            assert not path.exists()  # not before it is complete
    frames = frames_of(path)
    assert [round(float(frame[4:20].mean()) / 25) for frame in frames] == list(range(9))
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5, abs=0.1)
    assert names(path.parent) == [path.name]


def test_frames_of_other_sizes_are_fitted_into_the_first(tmp_path: Path) -> None:
    sizes = [(48, 64), (64, 48), (480, 640), (1, 500), (500, 1), (1, 1), (47, 63)]
    with Sinks(VideoSink(tmp_path / "out.mp4", 10)) as sinks:
        for size in sizes:
            sinks.write(*shot(0, np.full((*size, 3), 200, np.uint8)))
    frames = frames_of(tmp_path / "out.mp4")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * len(sizes)
    upright = frames[1]  # 36 of 64 columns, black on both sides
    assert upright[:24, :10].max() < 60
    assert upright[:24, -10:].max() < 60
    assert upright[6:24, 20:44].mean() > 150


def test_an_older_video_stays_when_there_is_no_frame(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"older")
    with Sinks(VideoSink(tmp_path / "out.mp4", 10)):
        pass
    assert (tmp_path / "out.mp4").read_bytes() == b"older"
    assert names(tmp_path) == ["out.mp4"]


def test_a_kind_of_video_that_cannot_be_written_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Sinks(VideoSink(tmp_path / "out.webm", 10)) as sinks:
        with pytest.raises(VisionEdgeError, match="cannot write this kind of video") as caught:
            sinks.write(*shot())
        assert str(tmp_path / "out.webm") in str(caught.value)
    assert names(tmp_path) == []
    capfd.readouterr()


def test_images_are_written_by_number_and_name(tmp_path: Path) -> None:
    with Sinks(annotated_sink(tmp_path / "out", 10, 3)) as sinks:
        for number in range(3):
            sinks.write(*shot(number))
    expected = [f"00000{k}-part {k}.jpg" for k in range(3)]
    assert names(tmp_path / "out") == expected
    for number, name in enumerate(expected):
        annotated = annotate(*_image_and_verdict(number))
        assert (tmp_path / "out" / name).read_bytes() == encode_jpeg(annotated)


def _image_and_verdict(number: int) -> tuple[Any, Verdict]:
    frame, verdict = shot(number)
    return frame.image, verdict


def test_one_image_is_written_as_it_was_annotated(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.png"
    with Sinks(annotated_sink(path, 10, 1)) as sinks:
        sinks.write(*shot(3))
    assert np.array_equal(read_image(path), annotate(*_image_and_verdict(3)))


@pytest.mark.parametrize("images", [None, 0, 2])
def test_one_image_cannot_hold_many_frames(tmp_path: Path, images: int | None) -> None:
    with pytest.raises(VisionEdgeError, match="one image file cannot hold all"):
        annotated_sink(tmp_path / "out.png", 10, images)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("out.mp4", VideoSink),
        ("out.AVI", VideoSink),
        ("out.JPG", OneImageSink),
        ("out", ImageSink),
        ("out.d", ImageSink),
    ],
)
def test_the_kind_of_sink_follows_the_suffix(tmp_path: Path, name: str, kind: type) -> None:
    sink = annotated_sink(tmp_path / name, 10, 1)
    assert isinstance(sink, kind)
    sink.close()
    assert names(tmp_path) == []


class Recorder:
    def __init__(self, log: list[str], name: str, fails: bool = False) -> None:
        self.log, self.name, self.fails = log, name, fails

    def write(self, frame: Frame, verdict: Verdict) -> None:
        self.log.append(f"{self.name} {frame.number}")

    def close(self) -> None:
        self.log.append(f"{self.name} closed")
        if self.fails:
            raise OSError(f"{self.name}: disk is full")


def test_several_sinks_get_every_verdict_and_are_all_closed() -> None:
    log: list[str] = []
    with pytest.raises(ZeroDivisionError), Sinks(Recorder(log, "a"), Recorder(log, "b")) as sinks:
        sinks.write(*shot(0))
        sinks.write(*shot(1))
        raise ZeroDivisionError
    assert log == ["a 0", "b 0", "a 1", "b 1", "a closed", "b closed"]


def test_a_sink_that_fails_to_close_does_not_keep_the_others_open() -> None:
    log: list[str] = []
    with (
        pytest.raises(OSError, match="a: disk is full"),
        Sinks(Recorder(log, "a", fails=True), Recorder(log, "b"), Recorder(log, "c")),
    ):
        pass
    assert log == ["a closed", "b closed", "c closed"]


def test_annotating_draws_on_a_copy() -> None:
    image, verdict = _image_and_verdict(1)
    image = np.kron(image, np.ones((4, 4, 1), np.uint8))
    before = image.copy()
    got = annotate(image, verdict)
    assert np.array_equal(image, before)
    assert got.shape == image.shape
    assert got.dtype == np.uint8
    band = got[-24:]
    assert (band.max(axis=2) > 120).sum() > 60  # letters on the darkened band
    assert np.array_equal(got[4:-24, 4:-4], image[4:-24, 4:-4])  # and nothing above it
    assert (got[0, 5:-5] != image[0, 5:-5]).any()  # but a frame


def test_known_and_unknown_look_different_at_a_glance() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    known, unknown = (annotate(image, shot(label=label)[1]) for label in ("nut", None))
    assert known[0, 50].tolist() == [80, 200, 80]
    assert unknown[0, 50].tolist() == [60, 120, 240]
    other = annotate(image, shot(label="bolt")[1])
    assert not np.array_equal(known[-12:], other[-12:])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (8, 8), (9, 8), (11, 40), (2000, 20)])
@pytest.mark.parametrize("label", ["nut", "x" * 200, "ナット ⚙"])
def test_any_size_and_label_can_be_annotated(size: tuple[int, int], label: str) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    got = annotate(image, shot(label=label)[1])
    assert got.shape == image.shape
    assert (image == 128).all()
    assert (got != 128).any()


def test_a_mirrored_frame_can_be_annotated() -> None:
    image, verdict = _image_and_verdict(1)
    mirrored = image[:, ::-1]
    assert np.array_equal(annotate(mirrored, verdict), annotate(mirrored.copy(), verdict))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_image_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(VisionEdgeError, match="cannot be written"):
            OneImageSink(tmp_path / "out.png").write(*shot())
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "label", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "  =1", "＝1", "=HYPERLINK(1)"]
)
def test_a_formula_is_no_cell_of_a_table(tmp_path: Path, label: str) -> None:
    sink = CsvSink(tmp_path / "t.csv")
    frame, verdict = shot(label=label)
    sink.write(frame, verdict)
    sink.write(*shot(label="a=b+c"))
    sink.close()
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["label"] == "'" + label
    assert second["label"] == "a=b+c"
    assert float(first["score"]) == pytest.approx(verdict.decision.score, abs=1e-3)


@pytest.mark.parametrize(("answer", "kept"), [("right", 0), ("wrong", 1), ("unsure", 1)])
def test_a_part_that_is_the_expected_one_needs_no_look(
    tmp_path: Path, answer: str, kept: int
) -> None:
    frame, verdict = shot(label=None)
    told = Verification("nut", answer, "" if answer == "right" else "far", 0.5, 0.1)  # type: ignore[arg-type]
    asked = replace(verdict, decision=replace(verdict.decision, verification=told))
    ReviewSink(tmp_path).write(frame, asked)
    assert len(list(tmp_path.rglob("*.jpg"))) == kept


def part_of(number: int) -> tuple[Frame, Verdict]:
    frame, verdict = shot(number)
    part = PartVerdict(3, 9, 5, 6, verdict.decision, (5, 4), number, (1, 2, 30, 40))
    return frame, replace(verdict, part=part)


def test_a_table_has_the_parts_columns_and_true_and_false(tmp_path: Path) -> None:
    with Sinks(CsvSink(tmp_path / "out.csv")) as sinks:
        sinks.write(*part_of(1))
        sinks.write(*shot(2, label=None))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    columns = ("part", "part_first", "part_last", "part_frames", "part_box", "known")
    assert [first[column] for column in columns] == ["1", "3", "9", "6", "1 2 30 40", "true"]
    assert [second[column] for column in columns] == ["", "", "", "", "", "false"]


def test_a_cameras_video_is_as_long_as_it_was(tmp_path: Path) -> None:
    """Five verdicts a second, a pause of two seconds, and a burst that is quicker than the film."""
    sink = VideoSink(tmp_path / "live.avi", 10.0, timed=True)
    times = [0.0, 0.2, 0.4, 2.4, 2.41, 2.42, 2.6]
    for number, at in enumerate(times):
        frame, verdict = shot(number)
        sink.write(replace(frame, captured=50.0 + at), verdict)
    sink.close()
    assert len(frames_of(tmp_path / "live.avi")) == 27  # 2.6 s at 10 a second, and the last


def test_a_film_of_parts_shows_all_frames_and_each_verdict_for_a_while(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "parts.avi", 10.0)
    plain = np.full((64, 96, 3), 200, np.uint8)
    for number in range(50):
        frame, verdict = shot(number, plain)
        sink.show(frame)
        if number == 10:
            sink.write(frame, verdict)
    sink.close()
    frames = frames_of(tmp_path / "parts.avi")
    assert len(frames) == 50
    marked = [abs(int(frame[-2].mean()) - 200) > 40 for frame in frames]
    assert [number for number, mark in enumerate(marked) if mark] == list(range(11, 31))
