"""The wires of a station: MQTT, Sparkplug B, webhook, Modbus TCP and OPC UA.

wires = make_wires(WireSettings(mqtt=MqttSettings(host="broker")), "line-1", state_dir, ["cam"])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vision_edge.station.core.product_codes import Codes
from vision_edge.station.core.wire import Wire
from vision_edge.station.settings.wires import (
    ModbusSettings,
    MqttSettings,
    OpcuaSettings,
    SparkplugSettings,
    WebhookSettings,
    WireSettings,
)

__all__ = [
    "About",
    "ModbusSettings",
    "MqttSettings",
    "OpcuaSettings",
    "SparkplugSettings",
    "WebhookSettings",
    "WireSections",
    "WireSettings",
    "make_wires",
]


class WireSections(Protocol):
    """Settings that hold the sections of the wires: `WireSettings`, or the station's own."""

    @property
    def mqtt(self) -> MqttSettings | None:
        """The section `[mqtt]`, or None."""

    @property
    def sparkplug(self) -> SparkplugSettings | None:
        """The section `[sparkplug]`, or None."""

    @property
    def webhook(self) -> WebhookSettings | None:
        """The section `[webhook]`, or None."""

    @property
    def modbus(self) -> ModbusSettings | None:
        """The section `[modbus]`, or None."""

    @property
    def opcua(self) -> OpcuaSettings | None:
        """The section `[opcua]`, or None."""


@dataclass(frozen=True)
class About:
    """What wires tell of a station besides its verdicts.

    Attributes:
        commanded: Names of the sources that are judged on command.
        codes: Products' codes for controllers; None: the settings' alone.
        products: Returns the names of the registered products.
        configuration: Returns what verdicts are made with: the bundle.
    """

    commanded: Collection[str] = ()
    codes: Codes | None = None
    products: Callable[[], Sequence[str]] = tuple
    configuration: Callable[[], str] = str


def make_wires(
    settings: WireSections,
    station_name: str,
    state_dir: Path,
    source_names: list[str],
    about: About | None = None,
) -> list[Wire]:
    """Return the wires that the settings ask for, not started; each is to be closed.

    Args:
        settings: The sections; one that is None is left out.
        station_name: The station's name, for topics and nodes.
        state_dir: Folder for the outboxes.
        source_names: Names of the sources, in their order: registers follow it.
        about: What else they tell.

    Raises:
        MissingExtraError: If a wire's packages are not installed.
        VisionEdgeError: If a file that the settings name cannot be read, or the folder is in use.
    """
    with ExitStack() as stack:
        wires: list[Wire] = []
        for make in (_mqtt, _sparkplug, _webhook, _modbus, _opcua):
            wire = make(settings, station_name, state_dir, source_names, about or About())
            if wire is not None:
                stack.callback(wire.close)
                wires.append(wire)
        stack.pop_all()
        return wires


def _mqtt(
    settings: WireSections, name: str, state_dir: Path, sources: list[str], about: About
) -> Wire | None:
    if settings.mqtt is None:
        return None
    from vision_edge.station.wires.mqtt import MqttWire

    return MqttWire(settings.mqtt, name, state_dir, sources, about.commanded)


def _sparkplug(
    settings: WireSections, name: str, state_dir: Path, sources: list[str], about: About
) -> Wire | None:
    if settings.sparkplug is None:
        return None
    from vision_edge.station.wires.sparkplug.wire import SparkplugWire

    own = settings.sparkplug
    return SparkplugWire(own, name, state_dir, sources, about.commanded, about.codes)


def _webhook(
    settings: WireSections, name: str, state_dir: Path, sources: list[str], about: About
) -> Wire | None:
    if settings.webhook is None:
        return None
    from vision_edge.station.wires.webhook import WebhookWire

    return WebhookWire(settings.webhook, state_dir)


def _modbus(
    settings: WireSections, name: str, state_dir: Path, sources: list[str], about: About
) -> Wire | None:
    if settings.modbus is None:
        return None
    from vision_edge.station.wires.modbus import ModbusWire

    return ModbusWire(settings.modbus, sources, about.codes)


def _opcua(
    settings: WireSections, name: str, state_dir: Path, sources: list[str], about: About
) -> Wire | None:
    if settings.opcua is None:
        return None
    from vision_edge.station.wires.machine_vision.system import Facts
    from vision_edge.station.wires.opcua import OpcuaWire

    facts = Facts(about.products, about.configuration)
    return OpcuaWire(settings.opcua, name, sources, about.commanded, facts)
