"""A source that is judged at a bounded rate: all frames are seen, few are passed."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np
import pytest
from support.runtime import FakeSource

pytest.importorskip("pydantic_settings")

from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.feeds import Gate
from vision_edge.station.core.live_model import Model
from vision_edge.station.settings.station import SourceSettings

BLACK = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(("rate", "passed"), [(None, 90), (30.0, 90), (20.0, 60), (2.0, 6)])
def test_frames_are_passed_at_the_rate(rate: float | None, passed: int) -> None:
    frames = [Frame(BLACK, "fake", number, 5.0 + number / 30) for number in range(90)]
    seen: list[Frame] = []
    model = cast(Model, object())
    gate = Gate(
        FakeSource(frames),
        lambda: model,
        lambda frame: (seen.append(frame), frame)[1],
        threading.Event(),
        rate,
    )
    got = list(gate.with_model(model))
    assert len(seen) == 90
    assert abs(len(got) - passed) <= 1
    assert gate.over


def test_only_a_verdict_a_frame_can_be_bounded() -> None:
    fields: dict[str, Any] = {"name": "a", "address": "0", "max_rate": 5.0}
    assert SourceSettings(**fields).max_rate == 5.0
    with pytest.raises(ValueError, match="max_rate"):
        SourceSettings(**fields, trigger="interval")
