"""The primary host: whether the application that counts is there to take what is told.

Source: Sparkplug 3.0, sections 4.3 (the topic STATE) and 5.4 (edge nodes that wait for it).
"""

from __future__ import annotations

import json
import logging
from typing import Any, Literal

_LOG = logging.getLogger(__name__)
Change = Literal["same", "online", "back", "offline"]


class PrimaryHost:
    """What a host application says of itself, over all connections.

    Args:
        name: Its id.

    Attributes:
        name: Its id.
        topic: Where it says it, retained.
        online: Whether it has said on this connection that it is there.
        fresh: Whether it said so after the last connection: a broker that was killed may keep what
            was true before.
        warning: What a person should know of what it says, or nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.topic = f"spBv1.0/STATE/{name}"
        self.online = self.fresh = False
        self.warning = ""
        self._newest = -1  # timestamp of the newest message taken
        self._before = -1  # the same, when this connection began

    def connecting(self) -> None:
        """Begin a connection: what was said counts no longer."""
        self.online = self.fresh = False
        self.warning = ""
        self._before = self._newest

    def take(self, payload: bytes, retained: bool) -> Change:
        """Take a message; return what it changes.

        Args:
            payload: The message.
            retained: Whether the broker had kept it.

        Returns:
            `"online"`: it is there; `"back"`: it has connected anew and may have missed what was
            told meanwhile; `"offline"`: it is gone; `"same"`: nothing, or the message is older than
            another or is none.
        """
        said = _read(payload)
        if said is None:
            self.warning = f"; what {self.name} says of itself is not understood"
            _LOG.warning("sparkplug: a STATE of %r is none of Sparkplug 3.0", self.name)
            return "same"
        online, at = said
        if at < self._newest:
            self.warning = f"; a STATE of {self.name} is older than another: see to its clock"
            _LOG.warning("sparkplug: a STATE of %r is older than another", self.name)
            return "same"
        before, newer, self._newest = self.online, at > self._newest, at
        self.online, self.warning = online, ""
        self.fresh = online and (not retained or at > self._before >= 0)
        if not online:
            return "offline"
        return "online" if not before else "back" if newer else "same"


def _read(payload: bytes) -> tuple[bool, int] | None:
    """Return whether it is online, and since when; None if it is no such message."""
    try:
        said: Any = json.loads(payload)
        online, at = said["online"], said["timestamp"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(online, bool) or not isinstance(at, int) or isinstance(at, bool):
        return None
    if not 0 <= at < 2**63:
        return None
    return online, at
