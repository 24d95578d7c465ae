from __future__ import annotations

import logging

from vision_edge.station.core.log_bound import LogBound


def test_what_is_said_over_and_over_is_counted() -> None:
    now, said = 0.0, []
    bound = LogBound(most=3, period=60.0, clock=lambda: now)

    def say(name: str, message: str, *values: object) -> None:
        record = logging.LogRecord(name, logging.WARNING, "", 0, message, values, None)
        if bound.filter(record):
            said.append(record.getMessage())

    for number in range(1000):
        say("vision_edge.station.wires", "refused %d", number)
        say("asyncua.server", f"odd message {number}")
    say("vision_edge.station.wires", "another thing")
    assert len(said) == 7
    now = 61.0
    say("vision_edge.station.wires", "refused %d", 1000)
    assert said[-1] == "refused 1000 (and 997 more before)"
    for number in range(5000):
        say(f"library {number}", "x")
    assert len(bound._seen) == 1000
