"""Telling systemd how the service is: ready, alive, stopping. Nothing happens elsewhere.

The protocol is a datagram to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); the unit says
`Type=notify` and `WatchdogSec=`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager.

    Args:
        environment: Where its socket and the watchdog's period are named.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period = _period(environment)
        self._next = 0.0

    def ready(self, status: str) -> None:
        """Say that the service serves.

        Args:
            status: One line for `systemctl status`.
        """
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def beat(self) -> None:
        """Say that the service is alive; call it often, it is sent only as often as needed."""
        now = time.monotonic()
        if self._period is not None and now >= self._next:
            self._next = now + self._period
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        """Send one datagram; a manager that does not listen is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(text.encode(), self._address)
        except OSError:
            return


def _period(environment: Mapping[str, str]) -> float | None:
    """Return the seconds between two beats, a third of the watchdog's patience, or None."""
    microseconds, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID")
    if not microseconds.isdigit() or (process or str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 3e6


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
