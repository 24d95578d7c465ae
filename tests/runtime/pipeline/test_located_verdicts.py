"""Several parts in a frame: all judged in one call, and what must not become a part."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.parts import empty_belt
from support.runtime import FakeEmbedder, FakeSource, cohort_of, noisy, picture, weights

from vision_edge.runtime.errors import RegistrationError
from vision_edge.runtime.images.part_outlines import area
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.frame_verdicts import RunStatistics
from vision_edge.runtime.pipeline.located_verdicts import located_verdicts
from vision_edge.runtime.pipeline.part_verdicts import part_verdicts
from vision_edge.runtime.pipeline.registration import read_picture
from vision_edge.runtime.pipeline.snapshot_embedding import embed_snapshot
from vision_edge.runtime.pipeline.triggers import (
    IntervalTrigger,
    LocatedTrigger,
    PresenceTrigger,
    part_settings,
)
from vision_edge.runtime.recognition.part_motion import iou
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.recognition.verdict import LocatedPart, Verdict
from vision_edge.runtime.sinks.annotated import annotate
from vision_edge.runtime.sinks.tables import CsvSink
from vision_edge.runtime.sources.frame import Frame

BELT = np.full((240, 320, 3), 70, np.uint8)
BELT[::8] = 90
PLACES = [(20, 30), (120, 60), (220, 100)]


def belt(*parts: tuple[int, int, int], number: int = 0) -> Frame:
    """Return a frame with pictures as parts at (which, x, y)."""
    image = noisy(BELT, number, 3)
    for which, x, y in parts:
        right, bottom = min(320, x + 72), min(240, y + 72)
        left, top = max(0, x), max(0, y)
        image[top:bottom, left:right] = picture(which, 72)[
            top - y : bottom - y, left - x : right - x
        ]
    return Frame(image, "belt", number, number / 25)


def classifier() -> PrototypeClassifier:
    embedder, cohort = FakeEmbedder(), Cohort(cohort_of(weights()), from_station=True)
    products = np.stack([embed_snapshot(embedder, picture(k, 96)) for k in range(3)])
    prior = cohort.embeddings.mean(axis=0)
    return PrototypeClassifier(["p0", "p1", "p2"], products, prior, cohort, threshold=-1.0)


def judged(*frames: Frame, embedder: FakeEmbedder | None = None) -> list[Verdict]:
    embedder = embedder or FakeEmbedder()
    make = lambda: Presence(BELT)  # noqa: E731
    told = located_verdicts(FakeSource(frames), embedder, classifier(), make)
    return [verdict for _, verdict in told]


THREE = belt(*((k, *place) for k, place in enumerate(PLACES)))


def test_all_parts_of_a_frame_are_judged_in_one_call() -> None:
    embedder = FakeEmbedder()
    (verdict,) = judged(THREE, embedder=embedder)
    assert embedder.batches == [3]
    assert [part.decision and part.decision.label for part in verdict.parts] == ["p0", "p1", "p2"]
    for part, (x, y) in zip(verdict.parts, PLACES, strict=True):
        assert iou(part.box, (x, y, x + 72, y + 72)) > 0.8
    largest = max(verdict.parts, key=lambda part: area(part.box))
    assert largest.embedding is not None
    assert verdict.embedding is largest.embedding
    assert sum(part.embedding is verdict.embedding for part in verdict.parts) == 1
    document = json.loads(verdict.to_json())
    assert [part["label"] for part in document["parts"]] == ["p0", "p1", "p2"]
    assert document["label"] in {"p0", "p1", "p2"}, "the fields of a single part are the largest's"


def test_a_frame_without_a_whole_part_has_no_verdict_and_is_counted() -> None:
    counts, seen = RunStatistics(), []
    frames = [belt(), belt((1, -30, 60)), belt((1, 290, 60))]
    source = FakeSource(frames)
    told = located_verdicts(
        source, FakeEmbedder(), classifier(), lambda: Presence(BELT), statistics=counts,
        in_view=lambda frame, parts: seen.append(parts),
    )  # fmt: skip
    assert list(told) == []
    assert counts.empty == 3
    assert [len(parts) for parts in seen] == [0, 1, 1]
    assert all(part.decision is None for parts in seen for part in parts)


def test_a_part_as_large_as_the_view_is_not_whole() -> None:
    image = np.ascontiguousarray(cv2.resize(picture(1, 96), (320, 240)))
    assert judged(Frame(image, "belt", 0, 0.0)) == []


def test_a_table_has_a_row_a_part_and_a_picture_a_box_a_part(tmp_path: Path) -> None:
    (verdict,) = judged(THREE)
    sink = CsvSink(tmp_path / "v.csv")
    sink.write(THREE, verdict)
    sink.close()
    header, *rows = (tmp_path / "v.csv").read_text().splitlines()
    labels = [row.split(",")[header.split(",").index("label")] for row in rows]
    assert labels == ["p0", "p1", "p2"]
    places = [row.split(",")[header.split(",").index("part_box")] for row in rows]
    assert places == [" ".join(map(str, part.box)) for part in verdict.parts]
    drawn = annotate(THREE.image, verdict)
    for part in verdict.parts:
        x0, _, x1, y1 = part.box
        assert (drawn[y1 - 2, x0 + 5 : x1 - 5] != THREE.image[y1 - 2, x0 + 5 : x1 - 5]).any()


def test_each_part_that_passes_is_told_once_with_its_place_and_all_are_in_view() -> None:
    frames = [
        belt((0, 10 + 4 * k, 20), (1, 110 + 4 * k, 130), number=k) for k in range(20)
    ] + [belt(number=20 + k) for k in range(15)]  # fmt: skip
    seen: list[list[LocatedPart]] = []
    told = part_verdicts(
        FakeSource(frames), FakeEmbedder(), classifier(),
        lambda: PresenceTrigger(Presence(BELT)), in_view=lambda _, parts: seen.append(parts),
    )  # fmt: skip
    verdicts = [verdict for _, verdict in told]
    assert sorted(str(v.decision.label) for v in verdicts) == ["p0", "p1"]
    assert all(len(v.parts) == 1 and v.parts[0].number == v.part.number for v in verdicts if v.part)
    assert [part.decision and part.decision.label for part in seen[15]] == ["p0", "p1"]
    assert seen[-1] == []


def test_a_belt_that_stops_under_parts_tells_of_each_once() -> None:
    frames = [belt((0, 60, 20), (1, 160, 130), number=k) for k in range(120)]
    told = part_verdicts(
        FakeSource(frames), FakeEmbedder(), classifier(), lambda: PresenceTrigger(Presence(BELT))
    )
    assert sorted(str(v.decision.label) for _, v in told) == ["p0", "p1"]


def test_another_trigger_says_when_and_the_locator_where() -> None:
    frames = [belt((0, 60, 20), (1, 160, 130), number=k) for k in range(60)]
    make = lambda: LocatedTrigger(IntervalTrigger(1.0), Presence(BELT))  # noqa: E731
    told = part_verdicts(
        FakeSource(frames), FakeEmbedder(), classifier(), make, part_settings("interval")
    )
    assert sorted(str(v.decision.label) for _, v in told) == ["p0", "p0", "p0", "p1", "p1", "p1"]


def test_a_soft_shadow_that_crosses_is_no_part_and_hides_one_at_most() -> None:
    columns = np.arange(320)
    for x in range(-60, 380, 40):
        soft = 1 - 0.25 / (1 + np.exp(-(50 - np.abs(columns - x)) / 12))
        for frame, count in ((belt(number=x + 60), 0), (THREE, 3)):
            lit = np.clip(frame.image * soft[None, :, None], 0, 255).astype(np.uint8)
            whole = [f for f in Presence(BELT).find_all(lit) if f.complete]
            assert count - 1 <= len(whole) <= count, (x, count)


def test_a_hand_is_not_whole_for_it_comes_from_outside() -> None:
    image = empty_belt(30)
    cv2.ellipse(image, (320, 40), (60, 170), 0, 0, 360, (150, 170, 225), -1)
    cv2.rectangle(image, (285, 0), (355, 60), (150, 170, 225), -1)
    assert not any(f.complete for f in Presence(empty_belt()).find_all(image))


def test_registration_asks_which_of_several_parts_is_meant() -> None:
    frame = THREE
    picture_of = read_picture(frame, Presence(BELT))
    (finding,) = picture_of.findings
    assert finding.kind == "several"
    assert "1 at" in finding.message and "3 at" in finding.message
    chosen = read_picture(frame, Presence(BELT), part=2)
    assert chosen.findings == ()
    x, y = PLACES[1]
    assert np.abs(chosen.image.astype(int).mean() - frame.image[y : y + 72, x : x + 72].mean()) < 40
    with pytest.raises(RegistrationError, match="no part 4: 3 are wholly in view"):
        read_picture(frame, Presence(BELT), part=4)
