"""Whether an ONNX file keeps weights in other files, or may run without end: read off its bytes.

A tensor may name a file instead of holding its values (`onnx.proto`: `TensorProto.external_data`
and `data_location`). A model that is opened from its verified bytes has no folder, so a runtime
would look for that file in whatever folder the process works in: unverified bytes as weights.

A node may hold graphs of its own (`AttributeProto.g` and `graphs`). An operator that runs them
again and again, such as Loop and Scan, may do so for ever, on one picture in a million; without
any, every run of a graph ends. `If` runs one of its graphs once.
"""

from __future__ import annotations

from collections.abc import Iterator

_TENSOR = "tensor"
# By message: which fields hold which messages, as numbered in onnx.proto.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: _TENSOR, 2: _TENSOR},
}  # fmt: skip
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_OPERATOR, _ATTRIBUTE = 4, 5
_GRAPHS = (6, 11)  # of an attribute
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_MAX_DEPTH = 100


def names_other_files(model: bytes) -> bool:
    """Return whether any tensor of an ONNX file has its values in another file.

    Raises:
        ValueError: If the bytes are no well-formed protocol buffer.
    """
    return any(
        field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)
        for kind, data in _messages(model)
        if kind == _TENSOR
        for field, value in _fields(data)
    )


def repeating_operator(model: bytes) -> str | None:
    """Return the name of an operator of an ONNX file that runs graphs of its own; None without one.

    Raises:
        ValueError: If the bytes are no well-formed protocol buffer.
    """
    for kind, data in _messages(model):
        if kind == "node" and _holds_graphs(data):
            names = [value for field, value in _fields(data) if field == _OPERATOR]
            name = bytes(names[-1]) if names and not isinstance(names[-1], int) else b""
            if name != b"If":
                return name[:100].decode("utf-8", "replace")
    return None


def _holds_graphs(node: memoryview) -> bool:
    return any(
        inner in _GRAPHS
        for field, value in _fields(node)
        if field == _ATTRIBUTE and not isinstance(value, int)
        for inner, _ in _fields(value)
    )


def _messages(model: bytes) -> Iterator[tuple[str, memoryview]]:
    """Yield kind and bytes of every message of a model that may hold tensors."""
    waiting = [("model", memoryview(model), 0)]
    while waiting:
        kind, data, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("graphs are nested too deeply")
        yield kind, data
        for field, value in _fields(data) if kind != _TENSOR else ():
            if (inner := _FIELDS[kind].get(field)) is not None:
                if isinstance(value, int):
                    raise ValueError(f"field {field} of a {kind} is no message")
                waiting.append((inner, value, depth + 1))


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message; of fixed size ones, the value 0."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_EIGHT, _FOUR):
            length = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"wire type {wire} is not one of onnx.proto")
        if at + length > len(data):
            raise ValueError("a field is longer than its message")
        yield field, data[at : at + length] if wire == _BYTES else 0
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return a number of up to 64 bits, and where the next begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number is cut short")
