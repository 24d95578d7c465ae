"""What an edge node tells of itself and its devices: messages, in the order that they must have."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from vision_edge.station.wires.outbox_file import Entry
from vision_edge.station.wires.sparkplug.commands import RESET
from vision_edge.station.wires.sparkplug.device import Device
from vision_edge.station.wires.sparkplug.edge_node import EdgeNode, Message
from vision_edge.station.wires.sparkplug.payload import Metric

_LOG = logging.getLogger(__name__)


class Telling:
    """Makes a session's messages; in the wire's thread, but for `shift`.

    Args:
        node: The edge node, which numbers them.
        devices: By name.
        resets: Whether the node takes the command that resets counts.
    """

    def __init__(self, node: EdgeNode, devices: Mapping[str, Device], resets: bool) -> None:
        self._node, self._devices, self._resets = node, devices, resets
        self._shift: tuple[str, str] = ("", "")
        self._shift_told: tuple[str, str] = ("", "")

    def shift(self, name: str, since: str) -> None:
        """Note which shift is counted, and since when."""
        self._shift = (name, since)

    def births(self) -> list[Message]:
        """Return the node's birth, and those of the devices that are there."""
        software = Metric("Properties/Software", "String", f"vision-edge {version('vision-edge')}")
        own = [software, *self._shift_metrics()]
        if self._resets:
            own.append(Metric(RESET, "Boolean", False))
        births = [self._node.birth(own)]
        births += [self._birth(device) for device in self._devices.values() if device.alive]
        return births

    def changes(self) -> list[Message]:
        """Return what has changed of counts and states, and births of devices that have come."""
        messages = []
        if self._shift != self._shift_told:
            messages.append(self._node.data(self._shift_metrics()))
        for name, device in self._devices.items():
            if name in self._node.born:
                messages += self._changes_of(device)
            elif device.alive:
                messages.append(self._birth(device))
        return messages

    def verdict(self, entry: Entry, historical: bool) -> Iterator[Message]:
        """Yield a verdict, and before it the birth of its device where that is not born.

        Raises:
            ValueError: If it cannot be told: its source is gone, or it lacks something.
        """
        device = self._devices.get(entry.source)
        if device is None:
            raise ValueError(f"the station has no source {entry.source!r} any more")
        try:
            record = json.loads(entry.payload)
            metrics = device.verdict_metrics(record, entry.sequence, historical)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no whole verdict ({error!r})") from error
        if device.name not in self._node.born:
            yield self._birth(device)
        yield self._node.data(metrics, device.name)

    def deaths(self) -> list[Message]:
        """Return the deaths of devices that are gone, each after what is left to tell of it."""
        messages = []
        for name in sorted(self._node.born):
            if not self._devices[name].alive:
                messages += self._changes_of(self._devices[name])
                messages.append(self._node.device_death(name))
        return messages

    def _birth(self, device: Device) -> Message:
        """Return a device's birth, with the newest verdict if that can be told."""
        try:
            return self._node.device_birth(device.name, device.birth())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("sparkplug: a birth goes without its verdict: %s", error)
            device.forget()
            return self._node.device_birth(device.name, device.birth())

    def _changes_of(self, device: Device) -> list[Message]:
        """Return the message that tells what has changed of a device, if anything has."""
        changes = device.changes()
        if changes is None:
            return [self._birth(device)]
        return [self._node.data(changes, device.name)] if changes else []

    def _shift_metrics(self) -> list[Metric]:
        self._shift_told = name, since = self._shift
        return [
            Metric("Counts/Shift", "String", name),
            Metric("Counts/Since", "String", since),
        ]
