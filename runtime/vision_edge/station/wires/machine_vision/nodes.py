"""Nodes of the standard's types in a server: made, found and written."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.station.wires.machine_vision.names import RESULT_PARTS
from vision_edge.station.wires.machine_vision.types import VisionTypes


class VisionNodes:
    """Makes and writes nodes.

    Args:
        server: The server, of asyncua.
        types: The types.
    """

    def __init__(self, server: Any, types: VisionTypes) -> None:
        self._server, self._types = server, types

    async def child(self, parent: Any, name: str, index: int | None = None) -> Any:
        """Return a node below another, by a name of the standard."""
        index = self._types.index if index is None else index
        return await parent.get_child(f"{index}:{name}")

    async def object(self, parent: Any, name: str, kind: str, node_id: Any = None) -> Any:
        """Return an object of a type of the standard, with all that it must have; new, or there."""
        ua = require("asyncua.ua")
        with suppress(ua.UaError):
            return await self.child(parent, name)
        own = node_id or ua.NodeId(
            f"{parent.nodeid.Identifier}.{name}", parent.nodeid.NamespaceIndex
        )
        named = ua.QualifiedName(name, self._types.index)
        type_id = self._types.node(kind).nodeid
        return await parent.add_object(own, named, objecttype=type_id, instantiate_optional=False)

    async def slot(self, folder: Any, name: str) -> dict[str, Any]:
        """Add a variable for a result; return its node and those below it, by name."""
        ua = require("asyncua.ua")
        own = ua.NodeId(f"{folder.nodeid.Identifier}.{name}", folder.nodeid.NamespaceIndex)
        index = self._types.index
        node = await folder.add_variable(
            own, ua.QualifiedName(name, index), None, ua.VariantType.ExtensionObject,
            self._types.node("ResultDataType").nodeid,
        )  # fmt: skip
        await node.delete_reference(
            ua.NodeId(ua.ObjectIds.BaseDataVariableType), ua.NodeId(ua.ObjectIds.HasTypeDefinition),
            forward=True, bidirectional=False,
        )  # fmt: skip
        await node.add_reference(
            self._types.node("ResultType").nodeid, ua.NodeId(ua.ObjectIds.HasTypeDefinition),
            forward=True, bidirectional=False,
        )  # fmt: skip
        slot = {"": node}
        for part in RESULT_PARTS:
            declared = await self.child(self._types.node("ResultType"), part)
            slot[part] = await node.add_variable(
                ua.NodeId(f"{own.Identifier}.{part}", own.NamespaceIndex),
                ua.QualifiedName(part, index), None, ua.VariantType.Null,
                await declared.read_data_type(),
            )  # fmt: skip
        return slot

    async def write(
        self, node: Any, value: Any, at: datetime | None = None, status: Any = None
    ) -> None:
        """Write a variable.

        Args:
            node: Which.
            value: Its value, or a variant.
            at: When it was so; None: now.
            status: Its status; None: good.
        """
        ua = require("asyncua.ua")
        time = at or datetime.now(timezone.utc)
        good = ua.StatusCode(ua.StatusCodes.Good)
        data = ua.DataValue(
            variant(value),
            status or good,
            SourceTimestamp=time,
            ServerTimestamp=time,
        )
        await self._server.write_attribute_value(node.nodeid, data)


def variant(value: Any, name: str = "") -> Any:
    """Return a value with its type; of numbers the standard says it by their name."""
    ua = require("asyncua.ua")
    if isinstance(value, ua.Variant):
        return value
    if name == "ResultState":
        return ua.Variant(value, ua.VariantType.Int32)
    if isinstance(value, list):
        return ua.Variant(value, ua.VariantType.Variant, is_array=True)
    return ua.Variant(value)
