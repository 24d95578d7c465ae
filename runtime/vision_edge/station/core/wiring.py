"""The wires of a station, together: none that fails stops the others, or the verdicts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from vision_edge.station.core.wire import Commands, CountsWire, Record, StateWire, Wire, WireHealth

log = logging.getLogger(__name__)
CLOSE_SECONDS = 2.0


class Wiring:
    """Passes verdicts and states on to wires, from any thread."""

    def __init__(self) -> None:
        self._wires: tuple[Wire, ...] = ()

    def add(self, wire: Wire, commands: Commands) -> None:
        """Start a wire; it gets all from now on."""
        wire.start(commands)
        self._wires = (*self._wires, wire)

    def verdict(self, record: Record) -> None:
        """Pass a verdict on."""
        for wire in self._wires:
            _attempt(wire, lambda wire=wire: wire.verdict(record))  # type: ignore[misc]

    def state(self, source: str, status: Record) -> None:
        """Pass a source's status on, to those that want it."""
        for wire in self._wires:
            if isinstance(wire, StateWire):
                _attempt(wire, lambda wire=wire: wire.state(source, status))  # type: ignore[misc]

    def counts(self, document: Record) -> None:
        """Pass the parts' counts on, to those that want them."""
        for wire in self._wires:
            if isinstance(wire, CountsWire):
                _attempt(wire, lambda wire=wire: wire.counts(document))  # type: ignore[misc]

    def health(self) -> list[WireHealth]:
        """Return how each is doing."""
        return [_health_of(wire) for wire in self._wires]

    def close(self) -> None:
        """Close all at once, within about two seconds."""
        wires, self._wires = self._wires, ()
        threads = [
            threading.Thread(target=_attempt, args=(wire, wire.close), daemon=True)
            for wire in wires
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _attempt(wire: Wire, act: Callable[[], object]) -> None:
    try:
        act()
    except Exception:
        log.exception("the wire %s failed", wire.name)


def _health_of(wire: Wire) -> WireHealth:
    try:
        return wire.health()
    except Exception:
        log.exception("the wire %s failed", wire.name)
        return WireHealth(wire.name, "down", "failed unexpectedly; see the log")
