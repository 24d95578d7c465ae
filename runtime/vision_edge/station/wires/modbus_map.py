"""The Modbus register map; docs/reference/wires.md shows it as a table.

All registers are 16 bits; a number of 32 bits has its high word first. Each request is answered
from one state of the station, so that the registers it returns belong together. A reader that needs
two requests compares the sequence at the block's begin with its repetition at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.product_codes import Codes
from vision_edge.station.core.wire import Record

MAP_VERSION = 1
STATION_REGISTERS = 16
SOURCE_REGISTERS = 16
COUNT_REGISTERS = 14
"""Registers of a source's counts and answers beside two a product; the last two stand behind."""
MOST_REGISTERS = 65536
NO_VERDICT, WITHOUT_CODE, UNKNOWN = 0, 65534, 65535
BANDS = {"accept": 1, "review": 2, "unknown": 3}
VERIFIED = {"right": 1, "wrong": 2, "unsure": 3}
EXPECTED = 13
"""Offset of the register that says which product is expected; as a holding register it sets it."""
STATES = {"connecting": 1, "live": 2, "stale": 3, "lost": 4, "ended": 5}
ANSWERS = {"known": 1, "unknown": 2, "nothing": 3}
_NO_MARGIN = -32768


@dataclass(frozen=True)
class SourceState:
    """What the registers tell of a source.

    Attributes:
        verdicts: How many verdicts there were since the station's start.
        record: The last of them.
        at: When it came, on the clock `time.monotonic`.
        state: The source's state in a word.
        expected: The product that it should show from now on; None to identify.
        answer: What came of the last command, in a word; empty before the first.
        answers: How many commands were answered.
    """

    verdicts: int = 0
    record: Record | None = None
    at: float = 0.0
    state: str = ""
    expected: str | None = None
    answer: str = ""
    answers: int = 0


class FixedCodes:
    """Codes that the settings give.

    Args:
        products: Codes by label.
    """

    def __init__(self, products: Mapping[str, int]) -> None:
        self._products = products

    def code(self, label: str) -> int | None:
        """Return a product's code; None if it has none."""
        return self._products.get(label)

    def label(self, code: int) -> str | None:
        """Return the product of a code; None if no product has it."""
        return {number: label for label, number in self._products.items()}.get(code)


class RegisterMap:
    """Turns the states of the sources into registers.

    Args:
        sources: Names of the sources, in the order of their blocks.
        products: The settings' codes by label; these products have counts of their own.
        clock: Seconds on a clock that never goes back.
        codes: The codes of all products; by default the settings' alone.

    Raises:
        VisionEdgeError: If so many sources and products do not fit.
    """

    def __init__(
        self,
        sources: list[str],
        products: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
        codes: Codes | None = None,
    ) -> None:
        self._sources, self._products, self._clock = sources, products, clock
        self._codes = codes or FixedCodes(products)
        self._began = clock()
        if self.size > MOST_REGISTERS:
            raise VisionEdgeError(
                f"[modbus] {len(sources)} sources with {len(products)} product codes need "
                f"{self.size} registers, and Modbus has {MOST_REGISTERS}",
                fix="give codes to fewer products",
            )

    @property
    def size(self) -> int:
        """How many registers there are."""
        return self._counts_at + self._counts_size * len(self._sources)

    @property
    def _counts_at(self) -> int:
        return STATION_REGISTERS + SOURCE_REGISTERS * len(self._sources)

    @property
    def _counts_size(self) -> int:
        return COUNT_REGISTERS + 2 * len(self._products)

    def registers(self, states: dict[str, SourceState], counts: Record | None = None) -> list[int]:
        """Return all registers, each 0 to 65535.

        Args:
            states: By source.
            counts: The parts' counts, as `GET counts` answers.
        """
        heartbeat = int(self._clock() - self._began)
        head = [heartbeat & 0xFFFF, MAP_VERSION, len(self._sources), SOURCE_REGISTERS]
        head += [self._counts_at, self._counts_size]
        registers = head + [0] * (STATION_REGISTERS - len(head))
        for source in self._sources:
            registers += self._block(states.get(source, SourceState()))
        now, total = (_of_source((counts or {}).get(key, [])) for key in ("sources", "total"))
        for source in self._sources:
            state = states.get(source, SourceState())
            registers += self._counts(now.get(source, {}), total.get(source, {}), state)
        return registers

    def _counts(self, now: Record, total: Record, state: SourceState) -> list[int]:
        """Return parts, unknown, missed, all ever, the answer, those of each code, and unsure."""
        numbers = [now.get("parts", 0), now.get("unknown", 0), now.get("missed", 0)]
        numbers += [total.get("parts", 0), ANSWERS.get(state.answer, 0) << 16, state.answers]
        by_code = sorted(self._products, key=self._products.__getitem__)
        numbers += [now.get("products", {}).get(label, 0) for label in by_code]
        numbers.append(now.get("unsure", 0))
        return [word for number in numbers for word in _two_words(number)]

    def _block(self, state: SourceState) -> list[int]:
        sequence = _two_words(state.verdicts)
        source_state = STATES.get(state.state, 0)
        if state.record is None:
            nothing = (0, NO_VERDICT, 0, 0, 0, 0, 0, 0)
            return [*sequence, *nothing, source_state, 0, 0, self._code(state.expected), *sequence]
        record = state.record
        return [
            *sequence,
            int(record["known"]),
            self._product(record),
            BANDS.get(record["band"], 0),
            _signed(record["score"]),
            _signed(record["margin"]),
            min(65535, round(record["age_ms"])),
            *_two_words(round(1000 * (self._clock() - state.at))),
            source_state,
            *self._verification(record),
            self._code(state.expected),
            *sequence,
        ]

    def source_at(self, address: int) -> str | None:
        """Return the source whose expected product is at an address; None if there is none."""
        block, offset = divmod(address - STATION_REGISTERS, SOURCE_REGISTERS)
        if offset != EXPECTED or not 0 <= block < len(self._sources):
            return None
        return self._sources[block]

    def product_of(self, code: int) -> str | None:
        """Return the product of a code, None for 0.

        Raises:
            KeyError: If no product has that code.
        """
        if code == 0:
            return None
        label = self._codes.label(code)
        if label is None:
            raise KeyError(code)
        return label

    def _product(self, record: Record) -> int:
        if not record["known"]:
            return UNKNOWN
        return self._code(record["label"])

    def _verification(self, record: Record) -> tuple[int, int]:
        """Return the answer, and the product that it was judged against."""
        told = record.get("verification")
        if told is None:
            return 0, 0
        return VERIFIED[told["answer"]], self._code(told["expected"])

    def _code(self, label: str | None) -> int:
        return 0 if label is None else self._codes.code(label) or WITHOUT_CODE


def _of_source(entries: list[Record]) -> dict[str, Record]:
    return {entry["source"]: entry for entry in entries}


def _two_words(number: int) -> tuple[int, int]:
    number &= 0xFFFFFFFF
    return number >> 16, number & 0xFFFF


def _signed(value: float | None) -> int:
    """Return a thousand times a number as 16 bits of two's complement; -32768 is none."""
    if value is None:
        return _NO_MARGIN & 0xFFFF
    return max(-32767, min(32767, round(1000 * value))) & 0xFFFF
