"""The station's own model, as a NodeSet: the types of `names`, in a namespace of its own.

A client that knows OPC 40100-1 finds the names, fields, states and methods that it knows, under
another namespace: the official one belongs to the official file.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import count

from vision_edge.station.wires.machine_vision import names

_UA = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
_TYPES = "http://opcfoundation.org/UA/2008/02/Types.xsd"
_STANDARD = {
    "Boolean": 1, "Int32": 6, "UInt32": 7, "String": 12, "ByteString": 15, "LocalizedText": 21,
    "Structure": 22, "BaseDataType": 24, "TrimmedString": 12, "Handle": 7,
    "Enumeration": 29, "Duration": 290, "UtcTime": 294,
    "Argument": 296, "EnumValueType": 7594,
    "BaseObjectType": 58, "FolderType": 61, "BaseVariableType": 62, "BaseDataVariableType": 63,
    "PropertyType": 68, "DataTypeEncodingType": 76, "StateType": 2307, "BaseEventType": 2041,
    "TransitionEventType": 2311, "FiniteStateMachineType": 2771,
    "HasModellingRule": 37, "HasEncoding": 38, "HasTypeDefinition": 40, "HasSubtype": 45,
    "HasProperty": 46, "HasComponent": 47, "Mandatory": 78, "Optional": 80,
}  # fmt: skip


def own_model(namespace: str = names.OWN) -> str:
    """Return the model as the text of a NodeSet.

    Args:
        namespace: Where its names live.
    """
    return _Model(namespace).text()


class _Model:
    """Writes one NodeSet; types first, then what they have."""

    def __init__(self, namespace: str) -> None:
        self._root = ET.Element("UANodeSet", {"xmlns": _UA})
        ET.SubElement(ET.SubElement(self._root, "NamespaceUris"), "Uri").text = namespace
        model = {"ModelUri": namespace, "Version": "1.0.0"}
        ET.SubElement(ET.SubElement(self._root, "Models"), "Model", model)
        aliases = ET.SubElement(self._root, "Aliases")
        for name, number in _STANDARD.items():
            ET.SubElement(aliases, "Alias", {"Alias": name}).text = f"i={number}"
        self._numbers = count(1)
        self._ids: dict[str, str] = {}
        self._data_types()
        self._object_types()
        for name, methods in names.METHODS.items():
            for method, arguments in methods.items():
                self._method(self._ids[name], method, *arguments)

    def text(self) -> str:
        """Return what was written."""
        return ET.tostring(self._root, encoding="unicode")

    def _data_types(self) -> None:
        for name, parent in names.BASIC_TYPES.items():
            self._type("UADataType", name, parent)
        for name, values in names.ENUMS.items():
            self._enum(name, values)
        for name, fields in names.STRUCTURES.items():
            node = self._type("UADataType", name, "Structure")
            definition = ET.SubElement(node, "Definition", {"Name": f"1:{name}"})
            for field, kind, optional in fields:
                self._field(definition, field, kind, optional)
            encoding = self._node("UAObject", "Default Binary", namespace=0)
            self._refer(encoding, "HasTypeDefinition", self._id("DataTypeEncodingType"))
            self._refer(encoding, "HasEncoding", self._ids[name], forward=False)
            self._refer(node, "HasEncoding", encoding.attrib["NodeId"])

    def _field(self, definition: ET.Element, name: str, kind: str, optional: bool) -> None:
        said = {"Name": name, "DataType": self._id(kind.removesuffix("[]"))}
        if kind.endswith("[]"):
            said["ValueRank"] = "1"
        if optional:
            said["IsOptional"] = "true"
        ET.SubElement(definition, "Field", said)

    def _enum(self, name: str, values: tuple[str, ...]) -> None:
        node = self._type("UADataType", name, "Enumeration")
        definition = ET.SubElement(node, "Definition", {"Name": f"1:{name}"})
        for number, word in enumerate(values):
            ET.SubElement(definition, "Field", {"Name": word, "Value": str(number)})

    def _object_types(self) -> None:
        for name in ("VisionSystemType", "ResultManagementType", "RecipeManagementType"):
            self._type("UAObjectType", name, "BaseObjectType")
        self._type("UAObjectType", "ResultFolderType", "FolderType")
        for name, states in names.STATES.items():
            self._type("UAObjectType", name, "FiniteStateMachineType")
            for state, number in states.items():
                node = self._child("UAObject", state, self._ids[name], "StateType", None)
                self._variable(node.attrib["NodeId"], "StateNumber", "UInt32", number=number)
        for name, parts in names.COMPONENTS.items():
            for part, kind in parts:
                self._child("UAObject", part, self._ids[name], kind, "Optional")
        result = self._type("UAVariableType", "ResultType", "BaseDataVariableType")
        result.set("DataType", self._id("ResultDataType"))
        kinds = {name: kind for name, kind, _ in names.STRUCTURES["ResultDataType"]}
        for part in names.RESULT_PARTS:
            node = self._child(
                "UAVariable", part, self._ids["ResultType"], "BaseDataVariableType", "Mandatory"
            )
            node.set("DataType", self._id(kinds[part]))
        self._events()

    def _events(self) -> None:
        for name, (parent, properties) in names.EVENTS.items():
            self._type("UAObjectType", name, parent)
            for field in properties:
                self._variable(self._ids[name], field, names.EVENT_KINDS[field], rule="Optional")

    def _method(
        self, owner: str, name: str, given: names.Arguments, answered: names.Arguments
    ) -> None:
        rule = "Optional" if name in names.OPTIONAL_METHODS else "Mandatory"
        node = self._child("UAMethod", name, owner, None, rule)
        for what, arguments in (("InputArguments", given), ("OutputArguments", answered)):
            self._arguments(node.attrib["NodeId"], what, arguments)

    def _arguments(self, method: str, name: str, arguments: names.Arguments) -> None:
        node = self._child("UAVariable", name, method, "PropertyType", "Mandatory", "HasProperty")
        node.attrib.update(DataType=self._id("Argument"), ValueRank="1")
        node.set("BrowseName", name)
        value = ET.SubElement(node, "Value")
        objects = ET.SubElement(value, "ListOfExtensionObject", {"xmlns": _TYPES})
        for argument, kind in arguments:
            one = ET.SubElement(objects, "ExtensionObject")
            type_id = ET.SubElement(one, "TypeId")
            ET.SubElement(type_id, "Identifier").text = "i=297"
            said = ET.SubElement(ET.SubElement(one, "Body"), "Argument")
            ET.SubElement(said, "Name").text = argument
            data_type = ET.SubElement(said, "DataType")
            ET.SubElement(data_type, "Identifier").text = self._id(kind.removesuffix("[]"))
            ET.SubElement(said, "ValueRank").text = "1" if kind.endswith("[]") else "-1"

    def _variable(
        self, owner: str, name: str, kind: str, number: int | None = None, rule: str | None = None
    ) -> None:
        """Write a property; one of a standard name where it has a number."""
        node = self._child("UAVariable", name, owner, "PropertyType", rule, "HasProperty")
        node.set("DataType", self._id(kind.removesuffix("[]")))
        if kind.endswith("[]"):
            node.set("ValueRank", "1")
        if number is not None:
            node.set("BrowseName", name)
            value = ET.SubElement(node, "Value")
            ET.SubElement(value, kind, {"xmlns": _TYPES}).text = str(number)

    def _type(self, tag: str, name: str, parent: str) -> ET.Element:
        node = self._node(tag, name)
        self._ids[name] = node.attrib["NodeId"]
        self._refer(node, "HasSubtype", self._id(parent), forward=False)
        return node

    def _child(
        self,
        tag: str,
        name: str,
        owner: str,
        kind: str | None,
        rule: str | None,
        how: str = "HasComponent",
    ) -> ET.Element:
        node = self._node(tag, name)
        node.set("ParentNodeId", owner)
        self._refer(node, how, owner, forward=False)
        if kind is not None:
            self._refer(node, "HasTypeDefinition", self._id(kind))
        if rule is not None:
            self._refer(node, "HasModellingRule", self._id(rule))
        return node

    def _node(self, tag: str, name: str, namespace: int = 1) -> ET.Element:
        browse = f"{namespace}:{name}" if namespace else name
        said = {"NodeId": f"ns=1;i={next(self._numbers)}", "BrowseName": browse}
        node = ET.SubElement(self._root, tag, said)
        ET.SubElement(node, "DisplayName").text = name
        ET.SubElement(node, "References")
        return node

    def _refer(self, node: ET.Element, how: str, to: str, forward: bool = True) -> None:
        references = node.find("References")
        assert references is not None
        said = {"ReferenceType": how}
        if not forward:
            said["IsForward"] = "false"
        ET.SubElement(references, "Reference", said).text = to

    def _id(self, name: str) -> str:
        return self._ids.get(name) or f"i={_STANDARD[name]}"
