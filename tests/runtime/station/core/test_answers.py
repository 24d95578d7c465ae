"""Commands are answered in time: known, unknown, or nothing seen."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.station import Served, eventually, served, settings_for, strangers

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.answers import Answers

WITHIN = 1.5
RECORD: dict[str, Any] = {"known": True, "label": "bolt"}


def test_who_waits_gets_the_verdict_and_who_waited_long_enough_nothing() -> None:
    told: list[str] = []
    answers = Answers(0.2, lambda: told.append(answers.latest.word if answers.latest else ""))
    first, second = answers.ask(), answers.ask()
    answers.verdict(RECORD)
    assert [ask.answer.word for ask in (first, second) if ask.answer] == ["known", "known"]
    answers.verdict({**RECORD, "known": False})  # nobody asked
    began = time.monotonic()
    late = answers.ask().wait()
    assert late is not None
    assert (late.word, late.record) == ("nothing", None)
    assert 0.19 <= time.monotonic() - began < 2
    answers.verdict(RECORD)
    assert told == ["known", "nothing"]
    assert answers.count == 2


def test_any_number_of_commands_takes_few_threads() -> None:
    answers, before = Answers(30.0, lambda: None), threading.active_count()
    asks = [answers.ask() for _ in range(500)]
    assert threading.active_count() <= before + 20
    answers.verdict(RECORD)
    assert all(ask.answer and ask.answer.word == "known" for ask in asks)


@pytest.fixture
def plant(bundle_path: Path, registered: Path, shots: Path, tmp_path: Path) -> Any:
    """Sources on command: a product, strangers, an empty scene at 10 and 2 frames a second."""
    scene = tmp_path / "scene" / "empty.png"
    scene.parent.mkdir()
    belt = np.full((200, 300, 3), 90, np.uint8)
    cv2.imwrite(str(scene), belt)
    common = {"loop": True, "trigger": "command", "answer_within": WITHIN}
    bolt = next(path for path in sorted(shots.iterdir()) if "bolt" in path.name)
    sources = [
        {"name": "good", "address": bolt, "fps": 10, **common},
        {"name": "slow", "address": bolt, "fps": 3, **common},
        {"name": "odd", "address": strangers(tmp_path / "odd", 1), "fps": 10, **common},
        {"name": "empty", "address": scene.parent, "empty": scene, "fps": 10, **common},
        {"name": "frames", "address": bolt, "loop": True, "fps": 2},
    ]
    with served(settings_for(bundle_path, registered, *sources)) as running:
        eventually(lambda: all(line.frames for line in running.station.lines))
        yield running


def test_every_command_is_answered_in_time(plant: Served) -> None:
    words = {"good": "known", "slow": "known", "odd": "unknown", "empty": "nothing"}
    for name, word in words.items():
        began = time.monotonic()
        answer = plant.ok(plant.post(f"/sources/{name}/ask", json={}))
        assert time.monotonic() - began < WITHIN + 1.0
        assert answer["answer"] == word, name
        assert (answer["verdict"] is None) == (word == "nothing")
        if word == "known":
            assert answer["verdict"]["label"] == "bolt"
    status = {one["name"]: one for one in plant.ok(plant.get("/status"))["sources"]}
    assert {name: status[name]["answer"] for name in words} == words
    assert status["frames"]["answer"] is None


def test_a_source_that_is_not_judged_on_command_is_not_asked(plant: Served) -> None:
    assert plant.post("/sources/frames/ask", json={}).status_code >= 400
    with pytest.raises(VisionEdgeError, match="not judged on command"):
        plant.station.ask("frames")
