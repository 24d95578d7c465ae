"""Parts on a real RTSP stream: each is told once, whatever the device has time for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from support import rtsp
from support.runtime import FakeEmbedder

from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.pipeline.part_verdicts import PartStatistics, part_verdicts
from vision_edge.runtime.pipeline.triggers import PresenceTrigger
from vision_edge.runtime.recognition.part_tracking import PartSettings
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.strangers import Cohort
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(rtsp.missing() is not None, reason=rtsp.missing() or ""),
]
PERIOD, SPEED, SIDE, WIDTH = 2.0, 100, 60, 320  # as support/rtsp_server.py draws it
COLOURS = ((0x20, 0x30, 0xE0), (0xE0, 0x40, 0x20), (0x30, 0xD0, 0x40))
SECONDS = 13.0


@pytest.fixture
def belt() -> Iterator[rtsp.Server]:
    made = rtsp.Server("--belt", "--fps", "15")
    yield made
    made.kill()


class Device(FakeEmbedder):
    """Knows colours, and takes its time for each picture."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.done: list[float] = []

    def embed(self, prepared: Image) -> Embeddings:
        time.sleep(self._seconds)
        middle = prepared[:, prepared.shape[1] // 3 : -prepared.shape[1] // 3]
        colours = middle.reshape(len(prepared), -1, 3).mean(axis=1)
        self.done.append(time.monotonic())
        return np.asarray(colours, np.float32) - 80


def classifier() -> PrototypeClassifier:
    none = Cohort(np.zeros((0, 3), np.float32), from_station=False)
    products = np.array(COLOURS, np.float32) - 80
    return PrototypeClassifier(
        ["0", "1", "2"], products, np.zeros(3, np.float32), none, threshold=0
    )


@pytest.mark.parametrize("seconds", [0.05, 0.35, 0.9])
def test_each_part_on_a_stream_is_told_once_by_a_device_that_slow(
    belt: rtsp.Server, seconds: float
) -> None:
    """15 frames a second; the device judges 15, three, or one of them a second."""
    empty = np.full((240, WIDTH, 3), 0x50, np.uint8)
    source = open_source(belt.address(), live=LiveSettings())
    device, statistics, told = Device(seconds), PartStatistics(), []
    began, until = time.monotonic(), time.monotonic() + SECONDS
    late = []
    for frame, verdict in part_verdicts(
        source, device, classifier(), lambda: PresenceTrigger(Presence(empty)), PartSettings(),
        max_age_ms=2500.0, statistics=statistics,
    ):  # fmt: skip
        assert verdict.part is not None
        assert verdict.part.box is not None
        left = verdict.part.box[0]
        part = round((frame.captured - (left + SIDE) / SPEED) / PERIOD)
        told.append(part)
        assert verdict.decision.label == str(part % 3)
        if verdict.part.frames == 3:
            late.append(time.monotonic() - device.done[-1])
        if frame.captured > until:
            break
    source.close()
    leaves = (WIDTH + SIDE) / SPEED
    numbers = range(int(began / PERIOD) - 4, int(until / PERIOD) + 1)
    passed = [k for k in numbers if began + 2.0 < k * PERIOD < until - 2.0 - leaves]
    assert len(passed) >= 2
    assert sorted(set(told)) == sorted(told), f"none twice: {told}"
    assert set(passed) <= set(told)
    assert max(late, default=0.0) <= 0.150, "settled within 150 ms of the third judged frame"
