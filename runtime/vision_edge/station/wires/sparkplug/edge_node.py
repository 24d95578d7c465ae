"""The edge node: topics, sequence numbers and aliases of what a station tells.

Source: Sparkplug 3.0, sections 4 (topics), 5.4 to 5.8 (births and deaths) and 6.4 (payloads). It
sends nothing; it makes messages, in the order in which they must be sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.settings.sparkplug import sparkplug_id
from vision_edge.station.wires.sparkplug.payload import Metric, Told, Written, encoded_payload

Message = tuple[str, bytes]
"""A topic, and what is published there."""
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
_NODE = ""


@dataclass(frozen=True)
class EdgeTopics:
    """The topics of an edge node.

    Attributes:
        group: Its group.
        node: Its name.

    Raises:
        VisionEdgeError: If a name may not be a level of a topic.
    """

    group: str
    node: str

    def __post_init__(self) -> None:
        for name in (self.group, self.node):
            checked_id(name)

    def of(self, verb: str, device: str = "") -> str:
        """Return the topic of a kind of message: of the node, or of one device."""
        tail = f"/{device}" if device else ""
        return f"spBv1.0/{self.group}/{verb}/{self.node}{tail}"

    @property
    def barrier(self) -> str:
        """A topic that nobody ever subscribes to."""
        return f"vision-edge-barrier/{self.group}/{self.node}"


def checked_id(name: str) -> str:
    """Return a name that may be a level of a topic.

    Raises:
        VisionEdgeError: If it may not.
    """
    try:
        if not name:
            raise ValueError("a Sparkplug id must not be empty")
        return sparkplug_id(name)
    except ValueError as error:
        raise VisionEdgeError(f"[sparkplug] {name!r}: {error}", fix="choose another name") from None


class EdgeNode:
    """Makes the messages of one edge node.

    Args:
        topics: Its topics.
        aliases: Whether data names metrics by number.
        clock: Returns milliseconds since 1970 UTC.

    Attributes:
        born: Devices that are born in this session.
        live: Whether the node is born in this session.
    """

    def __init__(
        self, topics: EdgeTopics, aliases: bool, clock: Callable[[], int] | None = None
    ) -> None:
        self.born: set[str] = set()
        self.live = False
        self._topics, self._use_aliases = topics, aliases
        self._clock = clock or now_ms
        self._seq = 0
        self._bd_seq = 0
        self._aliases: dict[tuple[str, str], int] = {}
        self._named: dict[int, tuple[str, str]] = {}

    def connecting(self, bd_seq: int) -> Message:
        """Begin a session; return its death, to be the connection's last will.

        Args:
            bd_seq: The session's number, 0 to 255.
        """
        self._bd_seq = bd_seq
        self.live = False
        self.born.clear()
        return self.death()

    def death(self) -> Message:
        """Return the node's death, which bears no sequence number."""
        metric = Metric(BD_SEQ, "Int64", self._bd_seq)
        return self._topics.of("NDEATH"), encoded_payload(
            [(metric, None, True)], self._clock(), None
        )

    def birth(self, metrics: Sequence[Metric]) -> Message:
        """Return the node's birth; every device must be born anew after it."""
        self.born.clear()
        self.live = True
        self._seq = 0
        own = [Metric(BD_SEQ, "Int64", self._bd_seq), Metric(REBIRTH, "Boolean", False)]
        told: list[Told] = [(metric, None, True) for metric in own]
        told += [(metric, self._alias(_NODE, metric.name), True) for metric in metrics]
        return self._topics.of("NBIRTH"), self._numbered(told)

    def device_birth(self, device: str, metrics: Sequence[Metric]) -> Message:
        """Return a device's birth: all metrics that it will ever tell until the next."""
        told = [(metric, self._alias(device, metric.name), True) for metric in metrics]
        payload = self._numbered(told)
        self.born.add(device)
        return self._topics.of("DBIRTH", device), payload

    def data(self, metrics: Sequence[Metric], device: str = _NODE) -> Message:
        """Return data of the node or of a device, of metrics that its birth has named."""
        told = [(metric, self._alias(device, metric.name), False) for metric in metrics]
        verb = "DDATA" if device else "NDATA"
        return self._topics.of(verb, device), self._numbered(told)

    def device_death(self, device: str) -> Message:
        """Return a device's death."""
        self.born.discard(device)
        return self._topics.of("DDEATH", device), self._numbered([])

    def name_of(self, written: Written, device: str = _NODE) -> str:
        """Return the name of a metric that a command writes, by its name or number.

        Raises:
            VisionEdgeError: If neither is known, or the number is another device's.
        """
        if written.name or written.alias is None:
            return written.name
        owner, name = self._named.get(written.alias, ("", ""))
        if not name or owner != device:
            raise VisionEdgeError(
                f"a command to {device or 'the node'} writes metric {written.alias}, "
                "which is none of it",
                fix="ask for a rebirth, and take the numbers of it",
            )
        return name

    def _alias(self, device: str, name: str) -> int | None:
        """Return a metric's number: its own among all of the edge node, and the same for good."""
        if not self._use_aliases:
            return None
        alias = self._aliases.setdefault((device, name), len(self._aliases) + 1)
        self._named[alias] = (device, name)
        return alias

    def _numbered(self, told: Sequence[Told]) -> bytes:
        """Return a payload with the next sequence number: 0 to 255, and 0 again.

        What cannot be encoded uses no number up.

        Raises:
            ValueError: If a value does not fit its type.
        """
        try:
            payload = encoded_payload(told, self._clock(), self._seq)
        except TypeError as error:
            raise ValueError(str(error)) from error
        self._seq = (self._seq + 1) % 256
        return payload


def now_ms() -> int:
    """Return the milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
