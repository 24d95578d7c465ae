from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from vision_edge.station.core.event_hub import Hub
from vision_edge.station.core.fair_lock import FairLock
from vision_edge.station.core.identifiers import Identifiers
from vision_edge.station.core.state_folder import StateFolder


def test_a_slow_subscriber_loses_the_oldest_and_holds_nobody_up() -> None:
    hub = Hub()
    slow, quick = hub.subscribe(2), hub.subscribe(10)
    for number in range(5):
        hub.publish("verdict", {"n": number})
    assert [slow.get(), slow.get(), slow.get()] == [
        ("verdict", {"n": 3}),
        ("verdict", {"n": 4}),
        None,
    ]
    assert len(quick) == 5
    assert (slow.dropped, quick.dropped, hub.dropped) == (3, 0, 3)


def test_iteration_ends_when_the_hub_closes() -> None:
    hub = Hub()
    subscription = hub.subscribe()
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.extend(subscription))
    thread.start()
    hub.publish("state", {"a": 1})
    time.sleep(0.05)
    hub.close()
    thread.join(1.0)
    assert not thread.is_alive()
    assert seen == [("state", {"a": 1})]
    assert hub.subscribers == 0
    assert hub.subscribe().closed


def test_a_notified_subscriber_is_called_for_each_event_and_the_end() -> None:
    hub = Hub()
    subscription, calls = hub.subscribe(), []
    subscription.notify(lambda: calls.append(1))
    hub.publish("state", {})
    subscription.close()
    assert len(calls) == 2


def test_who_asked_first_is_served_first() -> None:
    lock, order = FairLock(), []

    def work(number: int) -> None:
        with lock:
            order.append(number)

    with lock:
        threads = []
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while lock.waiting <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


def test_identifiers_rise_even_when_the_clock_is_set_back() -> None:
    made = [Identifiers().new() for _ in range(3)]
    future = "7f" * 8 + "0" * 8
    own = Identifiers(after=future)
    later = [own.new() for _ in range(100)]
    assert all(len(name) == 24 for name in [*made, *later])
    assert later == sorted(set(later))
    assert later[0] > future


def test_identifiers_rise_over_a_restart_at_an_earlier_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for hours in (0, -1, -1000, 1):
        now = time.time_ns() + hours * 3_600_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        folder = StateFolder(tmp_path)  # and no end of the run before: as after a SIGKILL
        identifiers = Identifiers(folder.last_identifier(), folder.keep_identifier)
        made += [identifiers.new() for _ in range(5)]
        assert identifiers.of_this_run(made[-1]) and not identifiers.of_this_run(made[0][:16] + "x")
        folder.close()
        monkeypatch.undo()
    assert made == sorted(set(made))
