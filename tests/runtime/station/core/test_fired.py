"""A station that fires its camera: each command its picture, each picture its verdict."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.genicam import fake_camera
from support.station import Served, eventually, served, settings_for

from vision_edge.runtime.errors import SourceError, VisionEdgeError
from vision_edge.station.core.answers import Answers
from vision_edge.station.settings.station import SourceSettings

ADDRESS = "genicam://GV01?trigger=Software&fps=100&region=0,0,160,120"
PATIENT = {"max_age_ms": 60_000, "answer_within": 30, "stale_after": 30, "lost_after": 60}


def _record(trigger: int | None, known: bool = True) -> dict[str, Any]:
    return {"known": known, **({} if trigger is None else {"trigger": trigger})}


@pytest.fixture
def firing(bundle_path: Path, registered: Path) -> Iterator[Served]:
    with fake_camera():
        source = {"name": "cam", "address": ADDRESS, "trigger": "command", **PATIENT}
        with served(settings_for(bundle_path, registered, source)) as running:
            line = running.station.line("cam")
            eventually(lambda: line.state == "live", 30)
            yield running


def test_each_command_has_its_own_picture_and_verdict(firing: Served) -> None:
    station, asked = firing.station, 12
    triggers = [firing.ok(firing.post("/sources/cam/trigger"))["trigger"] for _ in range(asked)]
    assert triggers == list(range(asked))
    line = station.line("cam")
    eventually(lambda: len(station.records(100)) + line.lost_frames >= asked, 30)
    records = station.records(100)[::-1]
    told = [record["trigger"] for record in records]
    assert told == sorted(set(told)), "none twice"
    assert len(told) + line.lost_frames == asked, "none missed"
    assert all(record["frame"] == record["trigger"] for record in records)
    assert all(record["part"]["frames"] == 1 for record in records)
    totals = {kind: n for (_, kind, _), n in station.tally.totals().items()}
    assert sum(totals.values()) == len(told), "each is a part"
    status = firing.ok(firing.get("/status"))["sources"][0]
    assert status["lost_frames"] == line.lost_frames
    metrics = firing.client.get("/metrics").text
    assert f'vision_edge_lost_frames_total{{source="cam"}} {float(line.lost_frames)}' in metrics


def test_who_asks_at_once_gets_the_verdict_on_its_own_picture(firing: Served) -> None:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(firing.station.ask("cam"))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    told = [answer.record["trigger"] for answer in answers if answer.record is not None]
    assert len(set(told)) == len(told)
    assert len(told) >= 5 - firing.station.line("cam").lost_frames


def test_a_wire_and_the_api_count_the_same_triggers(firing: Served) -> None:
    firing.station.trigger(None)  # as MQTT, Modbus, OPC UA and the page do
    asked = (firing.ok(firing.post("/sources/cam/ask"))["verdict"] for _ in range(9))
    number, verdict = next(  # a busy machine may lose one
        (number, verdict) for number, verdict in enumerate(asked, 1) if verdict is not None
    )
    assert verdict["trigger"] == number


def test_a_camera_that_is_away_is_told_to_who_triggers(
    bundle_path: Path, registered: Path, shots: Path
) -> None:
    away = {"name": "away", "address": ADDRESS.replace("GV01", "none"), "trigger": "command"}
    near = {"name": "near", "address": shots, "trigger": "command", "loop": True}
    with served(settings_for(bundle_path, registered, away, near)) as running:
        answer = running.post("/sources/away/trigger")
        assert answer.status_code >= 400
        assert "genicam://none" in answer.text
        assert "not connected" in answer.text
        eventually(lambda: running.station.line("near").frames)
        with pytest.raises(SourceError, match="not connected"):
            running.station.trigger()
        eventually(lambda: running.station.records(source="near"), 20)


def test_the_verdict_on_a_picture_answers_who_had_it_taken_and_nobody_else() -> None:
    answers, numbers = Answers(60.0, lambda: None), iter(range(100))
    first, second = (answers.fire(lambda: next(numbers)) for _ in range(2))
    answers.verdict(_record(1, known=False))
    assert first.answer is None
    assert second.answer is not None
    assert second.answer.word == "unknown"
    answers.verdict(_record(0))
    assert first.answer is not None


def test_a_verdict_that_is_quicker_than_its_number_is_not_lost() -> None:
    answers = Answers(60.0, lambda: None)

    def fire() -> int:
        answers.verdict(_record(7))
        return 7

    answer = answers.fire(fire).answer
    assert answer is not None
    assert answer.word == "known"


def test_more_pictures_than_a_camera_keeps_are_refused() -> None:
    answers, numbers = Answers(60.0, lambda: None), iter(range(100))
    for _ in range(64):
        answers.fire(lambda: next(numbers))
    with pytest.raises(VisionEdgeError, match="64 pictures"):
        answers.fire(lambda: next(numbers))
    for trigger in range(64):
        answers.verdict(_record(trigger))
    assert answers.count == 64


@pytest.mark.parametrize("trigger", ["none", "motion", "interval"])
def test_settings_in_which_nobody_fires_are_refused(trigger: str) -> None:
    with pytest.raises(ValidationError, match='needs trigger = "command"'):
        SourceSettings(name="cam", address=ADDRESS, trigger=trigger)  # type: ignore[arg-type]


def test_settings_tell_who_fires() -> None:
    assert SourceSettings(name="cam", address=ADDRESS, trigger="command").fired
    free = ADDRESS.replace("trigger=Software&", "")
    assert not SourceSettings(name="cam", address=free, trigger="command").fired
    with pytest.raises(ValidationError, match="gain is -1"):
        SourceSettings(name="cam", address=ADDRESS + "&gain=-1", trigger="command")
