"""What the demonstration finds on its line: each part once, whatever its shape."""

from __future__ import annotations

from vision_edge.demo.conveyor import Conveyor, ConveyorConfig
from vision_edge.demo.inspection import line_presence
from vision_edge.demo.settings import line_view


def test_a_part_with_necks_is_one_part() -> None:
    """A wing nut was cut into four, and named as four."""
    config = ConveyorConfig(seed=0, width=960, height=480, empty_rate=0.0, hand_rate=0.0)
    line = Conveyor(config, ("wing_nut", "pipe_elbow"), passes=3)
    x0, y0, x1, y1 = line_view(config)
    presence = line_presence(line[0][0][y0:y1, x0:x1])
    looked = 0
    for number in range(60, len(line), 40):
        image, truth = line[number]
        inside = [p for p in truth.parts if p.bbox[0] > x0 + 12 and p.bbox[2] < x1 - 12]
        found = presence.find_all(image[y0:y1, x0:x1])
        assert len([one for one in found if one.complete]) <= len(truth.parts), number
        assert len([one for one in found if one.complete]) >= len(inside), number
        looked += sum(part.label == "wing_nut" for part in inside)
    assert looked >= 5
