"""What is handed over and cannot be written."""

from __future__ import annotations

import pytest

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.writer import Writer


def test_a_full_disk_is_a_line_of_the_log_a_mistake_of_ours_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed: list[Exception] = []

    def write(item: Exception) -> None:
        raise item

    writer = Writer("review", write, failed.append, lambda: None)
    for error in (VisionEdgeError("the disk is full", fix="make room"), KeyError("oops")):
        writer.put(error)
    writer.flush()
    assert len(failed) == 2
    assert writer.close()
    full, ours = caplog.records
    assert full.exc_info is None
    assert "the disk is full" in full.getMessage()
    assert ours.exc_info is not None
