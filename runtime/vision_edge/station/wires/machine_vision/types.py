"""The types of OPC 40100-1 in a server: loaded once, found by their names."""

from __future__ import annotations

from typing import Any

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.wires.machine_vision.names import NEEDED, OFFICIAL, OWN, STATES
from vision_edge.station.wires.machine_vision.own_model import own_model


class VisionTypes:
    """The types, of the official NodeSet or of the station's own model.

    Attributes:
        index: Index of their namespace.
        namespace: Their namespace.
    """

    def __init__(self, index: int, namespace: str, nodes: dict[str, Any]) -> None:
        self.index, self.namespace = index, namespace
        self._nodes = nodes
        self._states: dict[str, Any] = {}

    @classmethod
    async def load(cls, server: Any, nodeset: str | None) -> VisionTypes:
        """Load the types into a server that is not started.

        Args:
            server: The server, of asyncua.
            nodeset: Text of the official NodeSet; None: the own model is loaded.

        Raises:
            VisionEdgeError: If the NodeSet cannot be loaded.
        """
        namespace = OWN if nodeset is None else OFFICIAL
        try:
            loaded = await server.import_xml(xmlstring=nodeset or own_model())
            index = await server.get_namespace_index(namespace)
            nodes = await _named(server, loaded, index)
        except Exception as error:  # asyncua raises whatever went wrong inside
            raise VisionEdgeError(
                f"[opcua] the NodeSet of {namespace} cannot be loaded: {error!r}",
                fix="give the OPC Foundation's file as it is, or no nodeset",
            ) from error
        types = cls(index, namespace, nodes)
        await types._find_states()
        return types

    def node(self, name: str) -> Any:
        """Return the node of a type."""
        return self._nodes[name]

    def state(self, name: str) -> Any:
        """Return the node id of a state."""
        return self._states[name]

    def made(self, structure: str, **fields: Any) -> Any:
        """Return a structure's value; fields that are not given stand at their default."""
        ua = require("asyncua.ua")
        by_type = getattr(ua.uatypes, "extension_objects_by_datatype", {})
        kind = by_type.get(self._nodes[structure].nodeid) or getattr(ua, structure)
        return kind(**fields)

    def named(self, structure: str, name: str | None) -> Any:
        """Return an id of a name; None stays None."""
        return None if name is None else self.made(structure, Id=name)

    async def _find_states(self) -> None:
        ua = require("asyncua.ua")
        for machine, states in STATES.items():
            for child in await self._nodes[machine].get_children():
                name = (await child.read_browse_name()).Name
                is_object = await child.read_node_class() == ua.NodeClass.Object
                if is_object and name in states:
                    self._states[name] = child.nodeid
        missing = [name for names in STATES.values() for name in names if name not in self._states]
        if missing:
            raise VisionEdgeError(f"the NodeSet has no state {missing[0]}", fix="give another")


async def _named(server: Any, loaded: list[Any], index: int) -> dict[str, Any]:
    """Return the nodes of all types that are needed, by name."""
    ua = require("asyncua.ua")
    kinds = {ua.NodeClass.ObjectType, ua.NodeClass.VariableType, ua.NodeClass.DataType}
    found = {}
    for node_id in loaded:
        node = server.get_node(node_id)
        if node_id.NamespaceIndex != index or await node.read_node_class() not in kinds:
            continue
        found[(await node.read_browse_name()).Name] = node
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise VisionEdgeError(f"it lacks {missing[0]}", fix="give the official NodeSet")
    return found
