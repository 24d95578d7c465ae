"""One verdict a part: triggers, consensus, debounce, and the evidence beside it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import FakeEmbedder, FakeSource, cohort_of, noisy, picture, weights

from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.part_verdicts import part_verdicts
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.pipeline.triggers import (
    CommandTrigger,
    IntervalTrigger,
    MotionTrigger,
    PresenceTrigger,
    Trigger,
    part_settings,
)
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sinks.review_folder import ReviewSink
from vision_edge.runtime.sinks.tables import CsvSink, RotatingJsonlSink
from vision_edge.runtime.sources.frame import Frame

BELT = np.full((160, 200, 3), 70, np.uint8)
BELT[::8] = 90


def scene(part: int | None, x: int, number: int) -> Frame:
    """Return frame `number` of a belt, with a picture as the part at x: 25 frames a second."""
    image = noisy(BELT, number, 3)
    if part is not None:
        image[40:112, x : x + 72] = noisy(picture(part, 72), number)
    return Frame(image, "belt", number, number / 25)


def passing(*parts: int | None) -> list[Frame]:
    """Return frames of parts that pass one after another; None is an empty stretch."""
    frames: list[Frame] = []
    for part in parts:
        for step in range(10):
            frames.append(scene(part, 30 + 4 * step, len(frames)))
        frames += [scene(None, 0, len(frames) + k) for k in range(6)]
    return frames


def classifier(threshold: float = 0.5) -> PrototypeClassifier:
    embedder, cohort = FakeEmbedder(), Cohort(cohort_of(weights()), from_station=True)
    products = np.stack([embed_snapshot(embedder, picture(k, 96)) for k in range(3)])
    prior = cohort.embeddings.mean(axis=0)
    return PrototypeClassifier(["p0", "p1", "p2"], products, prior, cohort, threshold=threshold)


def verdicts(frames: list[Frame], trigger: Callable[[], Trigger], **options: Any) -> list[Any]:
    made = classifier(options.pop("threshold", 0.5))
    kind = "interval" if isinstance(trigger(), IntervalTrigger) else None
    settings = part_settings(kind, options.pop("method", "mean"), options.pop("report", "leave"))
    return list(
        part_verdicts(FakeSource(frames), FakeEmbedder(), made, trigger, settings, **options)
    )


def test_presence_gives_one_verdict_a_part_with_its_evidence() -> None:
    got = verdicts(passing(1, 2, 1), lambda: PresenceTrigger(Presence(BELT)))
    assert [verdict.decision.nearest for _, verdict in got] == ["p1", "p2", "p1"]
    for frame, verdict in got:
        assert verdict.part.first <= frame.number <= verdict.part.last
        assert verdict.part.evidence_frames[0] == verdict.frame == frame.number
        assert len(verdict.part.evidence_frames) == 3
        assert json.loads(verdict.to_json())["part"]["frames"] == verdict.part.frames >= 5


def test_the_same_part_again_too_soon_is_no_news() -> None:
    frames = passing(1, 1, 2)
    trigger = lambda: PresenceTrigger(Presence(BELT))  # noqa: E731
    assert len(verdicts(frames, trigger)) == 3
    labels = [v.decision.label for _, v in verdicts(frames, trigger, debounce=1.0, threshold=-1.0)]
    assert labels == ["p1", "p2"]


def test_motion_sees_what_moves_and_nothing_while_it_is_still() -> None:
    got = verdicts(passing(None, 1, None, 2), MotionTrigger)
    assert len(got) == 2
    assert verdicts(passing(None, None, None), MotionTrigger) == []


def test_an_interval_judges_whatever_is_in_view() -> None:
    frames = [Frame(picture(1, 96), "cam", k, k / 25) for k in range(100)]
    got = verdicts(frames, lambda: IntervalTrigger(1.0))
    assert [verdict.part.frames for _, verdict in got] == [25, 25, 25, 25]
    assert {verdict.decision.label for _, verdict in got} == {"p1"}


def test_a_command_asks_for_one_verdict() -> None:
    reading, writing = os.pipe()
    frames = [Frame(picture(2, 96), "cam", k, k / 25) for k in range(30)]
    with os.fdopen(reading) as stream:
        trigger = CommandTrigger(stream, frames=4)
        assert [not trigger.look(frame).parts for frame in frames[:3]] == [True] * 3
        os.write(writing, b"now\n")
        got = verdicts(frames[3:], lambda: trigger)
        assert [(v.part.frames, v.decision.label) for _, v in got] == [(4, "p2")]
        os.close(writing)
        assert not trigger.look(frames[0]).parts


@pytest.mark.parametrize(("parts", "label"), [([1] * 7 + [2] * 3, "p1"), ([1] * 5 + [2] * 5, None)])
def test_votes_need_more_than_half(parts: list[int], label: str | None) -> None:
    frames = [Frame(picture(part, 96), "cam", k, k / 25) for k, part in enumerate(parts)]
    ((_, verdict),) = verdicts(frames, lambda: IntervalTrigger(9.0), method="votes")
    assert verdict.decision.label == label
    assert all(parts[number] == 1 for number in verdict.part.evidence_frames) or label is None


def some(count: int) -> list[Any]:
    frames = [Frame(picture(k % 3 if k % 4 else 50, 96), "cam", k, 0.0) for k in range(count)]
    return verdicts(frames, lambda: IntervalTrigger(9.0)) or []


def test_jsonl_rotates_at_its_size_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "v.jsonl"
    ((frame, verdict),) = some(8)
    size = len(verdict.to_json().encode()) + 1
    for _ in range(2):  # a second run appends
        sink = RotatingJsonlSink(path, 3 * size, keep=2)
        for _ in range(5):
            sink.write(frame, verdict)
        sink.close()
    lines = [len(file.read_text().splitlines()) for file in sorted(path.parent.iterdir())]
    assert [file.name for file in sorted(path.parent.iterdir())] == [
        "v.jsonl", "v.jsonl.1", "v.jsonl.2",
    ]  # fmt: skip
    assert lines == [1, 3, 3]


def test_csv_has_a_header_and_a_row_a_verdict(tmp_path: Path) -> None:
    ((frame, verdict),) = some(8)
    sink = CsvSink(tmp_path / "v.csv")
    sink.write(frame, verdict)
    sink.close()
    header, row = io.StringIO((tmp_path / "v.csv").read_text()).read().splitlines()
    assert header.startswith("time,source,frame,age_ms,label,score")
    assert row.count(",") == header.count(",")


def test_pictures_to_review_are_kept_unmarked_and_no_more_than_asked(tmp_path: Path) -> None:
    frames = [Frame(picture(40 + k, 96), "cam", k, 0.0) for k in range(5)]
    got = [pair for frame in frames for pair in verdicts([frame] * 3, lambda: IntervalTrigger(9.0))]
    sink = ReviewSink(tmp_path, most=3)
    for frame, verdict in got:
        sink.write(frame, verdict)
    kept = sorted(tmp_path.rglob("*.jpg"))
    assert len(kept) == min(3, sum(not verdict.decision.known for _, verdict in got)) > 0
    assert all(file.with_suffix(".json").is_file() for file in kept)
