"""The official NodeSet, which the user gives: read, and looked at before it is loaded."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.wires.machine_vision.names import NEEDED, OFFICIAL, STATES

LARGEST = 32 << 20
"""Bytes of a NodeSet at most; the official one has less than 1 MB."""
_UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"


def read_nodeset(path: Path) -> str:
    """Return the text of a NodeSet that has the types of OPC 40100-1.

    Args:
        path: The file, as the OPC Foundation publishes it: `Opc.Ua.MachineVision.NodeSet2.xml`.

    Raises:
        VisionEdgeError: If it cannot be read, is no NodeSet, or is another one.
    """
    text = _read(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise _unfit(path, "it declares a document type or entities, as no NodeSet does")
    try:
        root = ET.fromstring(text)  # noqa: S314 (it declares no entities: see above)
    except (ET.ParseError, ValueError) as error:
        raise _unfit(path, f"it is no XML: {error}") from error
    if root.tag != f"{_UA}UANodeSet":
        raise _unfit(path, f"it is no NodeSet, but <{root.tag.rpartition('}')[2][:40]}>")
    spaces = [uri.text or "" for uri in root.iterfind(f"{_UA}NamespaceUris/{_UA}Uri")]
    if spaces[:1] != [OFFICIAL]:
        raise _unfit(path, f"it is of {spaces[0] if spaces else 'no namespace'!r}")
    if spaces[1:]:
        raise _unfit(path, f"it builds on {spaces[1]!r}, which is not given")
    there = {node.get("BrowseName", "").removeprefix("1:") for node in root}
    states = [name for machine in STATES.values() for name in machine]
    missing = [name for name in (*NEEDED, *states) if name not in there]
    if missing:
        raise _unfit(path, f"it lacks {missing[0]}")
    _inherit_fields(root)
    return ET.tostring(root, encoding="unicode")


def _inherit_fields(root: ET.Element) -> None:
    """Give structures that add no field the fields of what they are a kind of.

    A file writes only what is new, and a server shows all (OPC 10000-3, section 8.48); asyncua
    takes a structure without fields of its own for another name of its parent.
    """
    types = {node.get("NodeId"): node for node in root.iterfind(f"{_UA}UADataType")}
    for node in types.values():
        definition = node.find(f"{_UA}Definition")
        parent = types.get(_parent(node))
        inherited = None if parent is None else parent.find(f"{_UA}Definition")
        if definition is not None and not len(definition) and inherited is not None:
            definition.extend(list(inherited))


def _parent(node: ET.Element) -> str | None:
    """Return the id of what a type is a kind of."""
    for reference in node.iterfind(f"{_UA}References/{_UA}Reference"):
        if reference.get("ReferenceType") == "HasSubtype" and reference.get("IsForward") == "false":
            return (reference.text or "").strip()
    return None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _unfit(path, f"it has more than {LARGEST >> 20} MB")
        return data.decode("utf-8-sig")
    except UnicodeError as error:
        raise _unfit(path, "it is no text in UTF-8") from error
    except OSError as error:
        raise _unfit(path, f"it cannot be read: {error.strerror}") from error


def _unfit(path: Path, why: str) -> VisionEdgeError:
    return VisionEdgeError(
        f"[opcua] nodeset {path}: {why}",
        fix=f"give the OPC Foundation's NodeSet of {OFFICIAL}, or no nodeset",
    )
