"""What a host application may have the station do: rebirth, trigger, expect, reset."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.sparkplug import SparkplugSettings
from vision_edge.station.wires.sparkplug.device import EXPECTED, TRIGGER, Device
from vision_edge.station.wires.sparkplug.edge_node import REBIRTH, EdgeNode
from vision_edge.station.wires.sparkplug.payload import Value, Written, decoded_command

_LOG = logging.getLogger(__name__)
RESET = "Node Control/Reset Counts"


class NodeCommands:
    """Carries out the commands to a node and its devices.

    Args:
        node: The edge node, which knows the numbers of metrics.
        devices: By name.
        settings: Which commands are taken.
        station: What the station does for them.
    """

    def __init__(
        self,
        node: EdgeNode,
        devices: Mapping[str, Device],
        settings: SparkplugSettings,
        station: Commands,
    ) -> None:
        self._node, self._devices = node, devices
        self._settings, self._station = settings, station

    def carry_out(self, topic: str, payload: bytes) -> bool:
        """Carry out a command; what is wrong with it is logged, and told by its device.

        Args:
            topic: Where it came in.
            payload: What came.

        Returns:
            Whether a rebirth is asked for.
        """
        name = topic.rpartition("/")[2] if "/DCMD/" in topic else ""
        device = self._devices.get(name)
        rebirth = False
        try:
            if name and device is None:
                raise VisionEdgeError(f"there is no device {name[:80]!r}")
            for written in decoded_command(payload):
                rebirth |= self._tried(device, written)
        except VisionEdgeError as error:
            _refuse(device, error)
        return rebirth

    def _tried(self, device: Device | None, written: Written) -> bool:
        """Carry out one metric's write, or refuse it; return whether a rebirth is asked for."""
        try:
            if device is None:
                return self._to_node(self._node.name_of(written), written.value)
            self._to_device(device, self._node.name_of(written, device.name), written.value)
            device.accepted()
        except VisionEdgeError as error:
            _refuse(device, error)
        return False

    def _to_node(self, name: str, value: Value) -> bool:
        if name == REBIRTH:
            _asked(name, value)
            return True
        if name == RESET and self._settings.resets:
            _asked(name, value)
            self._station.reset_counts("sparkplug")
            return False
        raise VisionEdgeError(f"the node takes no {name[:80]!r}")

    def _to_device(self, device: Device, name: str, value: Value) -> None:
        if name == TRIGGER and self._settings.triggers:
            _asked(name, value)
            self._station.trigger(device.name)
        elif name == EXPECTED and self._settings.expect:
            if value is not None and not isinstance(value, str):
                raise VisionEdgeError(f"{name} takes text, and was given {value!r}")
            if value is not None and len(value) > 256:
                raise VisionEdgeError(f"{name} takes at most 256 characters")
            self._station.expect(device.name, value or None, False)
        else:
            raise VisionEdgeError(f"{device.name} takes no {name[:80]!r}")


def _refuse(device: Device | None, error: VisionEdgeError) -> None:
    _LOG.warning("wire sparkplug: a command was refused: %s", error.what)
    if device is not None:
        device.refused(error.what[:200])


def _asked(name: str, value: Value) -> None:
    """Check that a command is given, which is true.

    Raises:
        VisionEdgeError: If it is not.
    """
    if value is not True:
        raise VisionEdgeError(f"{name} takes true, and was given {str(value)[:80]!r}")
