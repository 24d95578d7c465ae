"""The tally: exact over restarts and kills, by shift, with resets, whatever the clock does."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from vision_edge.station.core import tally as module
from vision_edge.station.core.shifts import Shifts
from vision_edge.station.core.tally import Key, Tally

PARTS = 10_000
COUNTER = """
import sys
from pathlib import Path
from vision_edge.station.core.shifts import Shifts
from vision_edge.station.core.tally import Tally

tally = Tally(Path(sys.argv[1]), Shifts(("06:00",), "UTC"))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    known = number % 7 != 0
    label = f"product {number % 5}" if known else None
    tally.count({"id": f"{number + 1:016x}aaaaaaaa", "source_name": f"camera {number % 2}",
                 "band": "accept" if known else "unknown", "label": label})
    print(number, flush=True)
tally.close()
"""


def expected(number: int) -> Key:
    source = f"camera {number % 2}"
    return Key(source, "product", f"product {number % 5}") if number % 7 else Key(
        source, "unknown", ""
    )  # fmt: skip


def test_ten_thousand_parts_are_counted_exactly_over_kills_and_restarts(tmp_path: Path) -> None:
    """The process is killed at chance moments; what it had not acknowledged is counted again."""
    path, chance, done, kills = tmp_path / "counts.db", random.Random(5), 0, 0
    while done < PARTS:
        command = [sys.executable, "-c", COUNTER, str(path), str(done), str(PARTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ends = done + chance.randint(1500, 3000)
            for line in process.stdout:
                done = int(line) + 1
                if done >= ends and process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
        done = min(done, PARTS)
    assert kills >= 3
    tally = Tally(path, Shifts(("06:00",), "UTC"))
    assert tally.totals() == Counter(map(expected, range(PARTS)))
    assert sum(entry["parts"] for entry in tally.document()["total"]) == PARTS
    tally.close()


class Clock:
    def __init__(self, text: str) -> None:
        self.now = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


_ID = iter(range(1, 10**6))


def part(label: str | None = "bolt", source: str = "camera", **more: Any) -> dict[str, Any]:
    band = "unknown" if label is None else "accept"
    return {"id": f"{next(_ID):016x}aaaaaaaa", "source_name": source, "band": band, "label": label,
            **more}  # fmt: skip


def opened(tmp_path: Path, clock: Clock, **more: Any) -> Tally:
    shifts = Shifts(("06:00", "14:00", "22:00"), "UTC")
    return Tally(tmp_path / "counts.db", shifts, clock=clock, **more)


def now(tally: Tally) -> dict[str, Any]:
    (only,) = tally.document()["sources"]
    return dict(only)


def test_parts_are_counted_by_product_unsure_unknown_and_missed(tmp_path: Path) -> None:
    tally = opened(tmp_path, Clock("2026-11-27T07:00"))
    for label in ("bolt", "bolt", None, "nut"):
        assert tally.count(part(label))
    assert tally.count(part(None, band="review"))
    assert not tally.count(part(None, in_view=False)), "there was no part"
    tally.missed("camera", 2)
    counted = now(tally)
    assert counted == {"source": "camera", "parts": 5, "unsure": 1, "unknown": 1, "missed": 2,
                       "products": {"bolt": 2, "nut": 1}}  # fmt: skip
    assert tally.document()["shift"] == "2026-11-27 06:00"
    tally.close()


def test_a_verdict_that_was_counted_is_not_again_not_even_after_a_restart(tmp_path: Path) -> None:
    clock, record = Clock("2026-11-27T07:00"), part()
    tally = opened(tmp_path, clock)
    assert tally.count(record)
    assert not tally.count(record)
    tally.close()
    tally = opened(tmp_path, clock)
    assert not tally.count(record)
    assert now(tally)["parts"] == 1
    tally.close()


def test_a_shift_begins_at_nought_and_the_total_goes_on(tmp_path: Path) -> None:
    clock = Clock("2026-11-27T13:59")
    tally = opened(tmp_path, clock)
    tally.count(part())
    clock.now += timedelta(minutes=2)
    assert tally.document()["sources"] == []
    tally.count(part())
    tally.count(part("nut"))
    assert now(tally)["products"] == {"bolt": 1, "nut": 1}
    assert tally.document()["total"][0]["parts"] == 3
    assert [(row[0], row[6], row[7]) for row in tally.rows()] == [
        ("2026-11-27 06:00", "bolt", 1),
        ("2026-11-27 14:00", "bolt", 1),
        ("2026-11-27 14:00", "nut", 1),
    ]
    tally.close()


def test_a_shift_that_begins_while_the_station_is_off_is_another(tmp_path: Path) -> None:
    clock = Clock("2026-11-27T13:00")
    tally = opened(tmp_path, clock)
    tally.count(part())
    tally.close()
    clock.now += timedelta(days=3)
    tally = opened(tmp_path, clock)
    assert tally.document()["sources"] == []
    assert tally.document()["total"][0]["parts"] == 1
    tally.close()


def test_a_reset_counts_anew_and_keeps_what_was(tmp_path: Path) -> None:
    tally = opened(tmp_path, Clock("2026-11-27T07:00"))
    tally.count(part())
    tally.reset("anna")
    assert tally.document()["sources"] == []
    assert tally.document()["reset_by"] == "anna"
    tally.count(part())
    assert tally.document()["total"][0]["parts"] == 2
    assert [(row[2], row[3], row[7]) for row in tally.rows()] == [
        ("start", "", 1), ("reset", "anna", 1)
    ]  # fmt: skip
    tally.close()


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(hours=20)])
def test_a_clock_that_is_set_back_does_not_return_to_the_shift_before(
    tmp_path: Path, back: timedelta
) -> None:
    clock = Clock("2026-11-27T14:05")
    tally = opened(tmp_path, clock)
    tally.count(part())
    clock.now -= back
    tally.count(part())
    assert tally.document()["shift"] == "2026-11-27 14:00"
    assert now(tally)["parts"] == 2
    tally.close()


def test_a_clock_that_was_far_ahead_does_not_hold_a_shift_for_ever(tmp_path: Path) -> None:
    clock = Clock("2087-01-01T07:00")
    tally = opened(tmp_path, clock)
    tally.count(part())
    clock.now = datetime(2026, 11, 27, 7, tzinfo=timezone.utc)
    tally.count(part())
    assert tally.document()["shift"] == "2026-11-27 06:00"
    assert now(tally)["parts"] == 1
    assert tally.document()["total"][0]["parts"] == 2
    tally.close()


def test_what_cannot_be_written_is_told_kept_and_written_later(tmp_path: Path) -> None:
    tally = opened(tmp_path, Clock("2026-11-27T07:00"))
    tally.count(part())
    blocker = sqlite3.connect(tmp_path / "counts.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    tally._file._db.execute("PRAGMA busy_timeout = 10")
    tally.count(part())
    assert "cannot be written" in tally.document()["problem"]
    assert now(tally)["parts"] == 2
    with pytest.raises(module.TallyError):
        tally.reset("anna")
    blocker.execute("ROLLBACK")
    tally.count(part())
    assert tally.document()["problem"] == ""
    tally.close()
    again = opened(tmp_path, Clock("2026-11-27T07:00"))
    assert now(again)["parts"] == 3
    again.close()
    blocker.close()


def test_a_damaged_file_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "counts.db").write_bytes(b"no database" * 1000)
    tally = opened(tmp_path, Clock("2026-11-27T07:00"))
    tally.count(part())
    assert now(tally)["parts"] == 1
    assert "is damaged" in caplog.text
    assert list(tmp_path.glob("counts.db.damaged-*"))
    tally.close()


def test_who_listens_is_told_once_of_many_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TELL_SECONDS", 0.05)
    told: list[dict[str, Any]] = []
    tally = opened(tmp_path, Clock("2026-11-27T07:00"), changed=told.append)
    for _ in range(200):
        tally.count(part())
    until = time.monotonic() + 5
    while not (told and told[-1]["sources"] and told[-1]["sources"][0]["parts"] == 200):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert len(told) < 100
    tally.close()
