"""Which picture is opened for a verdict: its own passage's, never another part's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.passage_pictures import HELD, PASSAGES, PassagePictures
from vision_edge.station.core.verdict_history import HistoryError, VerdictHistory
from vision_edge.station.settings.history import HistorySettings

PLATE, RING = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def unknown(number: int) -> dict[str, Any]:
    """Return a verdict that names nothing: of all unknown parts they differ by their id alone."""
    told = {"id": f"{number:024x}", "time": f"2026-01-01T12:00:{number:02}.000+00:00"}
    said = {"label": None, "nearest": "bolt", "score": 0.2, "margin": None, "stranger_rate": None}
    return {**told, **said, "source_name": "cam", "band": "unknown", "box": None}


def passes(history: VerdictHistory, numbers: range, vector: Any) -> None:
    for number in numbers:
        frame = Frame(np.full((8, 8, 3), number, np.uint8), "cam", number, number / 4)
        history.take(frame, unknown(number), None, vector)


def test_an_unknown_parts_picture_is_its_own_passages(tmp_path: Path) -> None:
    history = VerdictHistory(tmp_path / "h.db", HistorySettings(per_minute=6000))
    passes(history, range(4), PLATE)
    passes(history, range(4, 8), RING)
    passes(history, range(8, 12), PLATE)  # like the first: not kept until somebody asks
    for asked, passage in ((1, range(4)), (7, range(4, 8)), (10, range(8, 12))):
        found = history.kept_of("cam", f"{asked:024x}")
        assert int(found["id"], 16) in passage, (asked, found)
        assert history.jpeg(found["id"])
    history.close()


def test_what_is_not_kept_is_said(tmp_path: Path) -> None:
    history = VerdictHistory(tmp_path / "h.db", HistorySettings(per_minute=6000))
    passes(history, range(4, 8), PLATE)
    for source, number in (("cam", 3), ("other", 5)):
        with pytest.raises(HistoryError, match="no picture of the verdict"):
            history.kept_of(source, f"{number:024x}")
    history.close()


def test_passages_are_told_apart_within_a_bound() -> None:
    pictures: PassagePictures[int] = PassagePictures()
    for number in range(PASSAGES + 2):
        pictures.note("cam", f"{10 * number:04}", f"p{number}", number)
    assert pictures.of("cam", "0015") == (None, None)  # forgotten
    last = PASSAGES + 1
    for number in range(2, last + 1):
        at_hand = number if number > last - HELD else None
        assert pictures.of("cam", f"{10 * number + 5:04}") == (f"p{number}", at_hand)
