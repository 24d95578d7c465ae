from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.station import sharp

from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.review_queue import ReviewError, ReviewQueue
from vision_edge.station.settings.station import ReviewSettings


def record(number: int, source: str = "cam", *, known: bool = False) -> dict[str, Any]:
    return {
        "id": f"{number:024x}", "time": "t", "source_name": source, "nearest": "bolt",
        "score": 0.5, "margin": None, "band": "accept" if known else "review", "known": known,
    }  # fmt: skip


FRAME = Frame(sharp(0), "cam", 0, 0.0)


@pytest.fixture
def told() -> list[int]:
    return []


@pytest.fixture
def queue(tmp_path: Path, told: list[int]) -> Iterator[ReviewQueue]:
    opened = ReviewQueue(tmp_path / "r.db", ReviewSettings(most=5, per_minute=600), told.append)
    yield opened
    opened.close()


def fill(queue: ReviewQueue, count: int) -> None:
    for number in range(count):
        queue.offer(FRAME, record(number))
        queue.flush()


def test_only_what_is_not_known_waits(queue: ReviewQueue, told: list[int]) -> None:
    queue.offer(FRAME, record(1, known=True))
    queue.offer(FRAME, record(2))
    queue.flush()
    assert [item["id"] for item in queue.items(10)] == [f"{2:024x}"]
    assert (queue.pending, told) == (1, [1])
    assert decode_image(queue.jpeg(f"{2:024x}"), "x").shape == FRAME.image.shape


def test_a_full_queue_loses_the_oldest_and_counts_it(queue: ReviewQueue) -> None:
    fill(queue, 8)
    assert [int(item["id"], 16) for item in queue.items(10)] == [7, 6, 5, 4, 3]
    assert (queue.pending, queue.dropped) == (5, 3)


def test_a_lost_product_does_not_flood_it_and_hinders_no_other_source(tmp_path: Path) -> None:
    queue = ReviewQueue(tmp_path / "r.db", ReviewSettings(per_minute=12), lambda _: None)
    try:
        for number in range(50):
            queue.offer(FRAME, record(number, "lost"))
            queue.flush()
        queue.offer(FRAME, record(99, "other"))
        queue.flush()
        assert (queue.pending, queue.skipped) == (4, 47)
        assert queue.items(1)[0]["source"] == "other"
    finally:
        queue.close()


def test_what_is_decided_is_gone_and_what_is_not_survives(
    queue: ReviewQueue, tmp_path: Path
) -> None:
    fill(queue, 3)
    assert queue.remove([f"{1:024x}", f"{9:024x}"]) == [f"{1:024x}"]
    with pytest.raises(ReviewError, match="no picture"):
        queue.pictures([f"{0:024x}", f"{1:024x}"])
    queue.close()
    again = ReviewQueue(tmp_path / "r.db", ReviewSettings(), lambda _: None)
    assert [int(item["id"], 16) for item in again.items(10)] == [2, 0]
    again.close()


@pytest.mark.parametrize("located", [True, False])
def test_a_part_is_cut_out_where_it_is_located(queue: ReviewQueue, located: bool) -> None:
    scene = sharp(3, 240).copy()
    scene[:] = 120
    shown = scene.copy()
    shown[80:160, 90:150] = 250
    small, large = {"box": [10, 10, 40, 40]}, {"box": [90, 80, 150, 160]}
    parts = {"parts": [small, large]} if located else {}
    queue.offer(Frame(shown, "cam", 0, 0.0), {**record(1), **parts}, Presence(scene))
    queue.flush()
    height, width = decode_image(queue.jpeg(f"{1:024x}"), "x").shape[:2]
    assert height == width < 140


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(b"this is no database at all" * 100)
    queue = ReviewQueue(path, ReviewSettings(), lambda _: None)
    fill(queue, 1)
    assert queue.pending == 1
    queue.close()
    assert [kept.name[:12] for kept in tmp_path.glob("*damaged*")] == ["r.db.damaged"]


def test_a_picture_that_cannot_be_kept_does_not_end_it(queue: ReviewQueue) -> None:
    queue.offer(FRAME, {**record(1), "score": object()})
    queue.flush()
    assert queue.skipped == 1
    fill(queue, 1)
    assert queue.pending == 1
