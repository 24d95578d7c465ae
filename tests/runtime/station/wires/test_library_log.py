import logging
from collections.abc import Iterator

import pytest

from vision_edge.station.wires.library_log import PER_MINUTE, bound_library_log


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Log(logging.Handler):
    """What reaches the program's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[Log]:
    root, handler = logging.getLogger(), Log()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def library() -> Iterator[str]:
    name = "a_library_of_others"
    yield name
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_information_is_left_out_and_warnings_pass(library: str, log: Log) -> None:
    bound_library_log(library)
    below = logging.getLogger(f"{library}.server.address_space")
    below.info("add_node: adding node %s", 1)
    below.warning("a peer sent %s", "nonsense")
    assert log.lines == ["a peer sent nonsense"]


def test_a_flood_is_cut_off_and_counted(library: str, log: Log) -> None:
    clock = Clock()
    bound_library_log(library, clock)
    bound_library_log(library, clock)  # a second wire of the kind: still each line once
    below = logging.getLogger(f"{library}.protocol")
    for number in range(5 * PER_MINUTE):
        below.error("broken message %d", number)
    assert len(log.lines) == PER_MINUTE
    clock.now = 61.0
    below.error("one more")
    texts = log.lines[PER_MINUTE:]
    assert texts == [f"{library}: {4 * PER_MINUTE} more lines were left out", "one more"]


def test_a_level_that_the_program_set_stays(library: str, log: Log) -> None:
    logging.getLogger(library).setLevel(logging.ERROR)
    bound_library_log(library)
    logging.getLogger(library).warning("not this")
    logging.getLogger(library).error("this")
    assert log.lines == ["this"]
