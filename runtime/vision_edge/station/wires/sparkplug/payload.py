"""Payloads of Sparkplug B: metrics to bytes, and back.

The message is defined here from the specification's description (Sparkplug 3.0, section 6.4), as
far as the station uses it: no data sets, templates, metadata or properties are written, and of what
others write of them nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from vision_edge.runtime.errors import VisionEdgeError, require

Kind = Literal["Int64", "UInt16", "UInt32", "UInt64", "Double", "Boolean", "String", "DateTime"]
Value = bool | int | float | str | None

_PACKAGE = "vision_edge.sparkplug"
_PAYLOAD_FIELDS = (
    ("timestamp", 1, "uint64"), ("metrics", 2, "Metric"), ("seq", 3, "uint64"),
    ("uuid", 4, "string"), ("body", 5, "bytes"),
)  # fmt: skip
_METRIC_FIELDS = (
    ("name", 1, "string"), ("alias", 2, "uint64"), ("timestamp", 3, "uint64"),
    ("datatype", 4, "uint32"), ("is_historical", 5, "bool"), ("is_transient", 6, "bool"),
    ("is_null", 7, "bool"),
)  # fmt: skip
_VALUE_FIELDS = (
    ("int_value", 10, "uint32"), ("long_value", 11, "uint64"), ("float_value", 12, "float"),
    ("double_value", 13, "double"), ("boolean_value", 14, "bool"), ("string_value", 15, "string"),
    ("bytes_value", 16, "bytes"), ("dataset_value", 17, "bytes"), ("template_value", 18, "bytes"),
    ("extension_value", 19, "bytes"),
)  # fmt: skip
_KINDS: dict[Kind, tuple[int, str]] = {
    "Int64": (4, "long_value"), "UInt16": (6, "int_value"), "UInt32": (7, "int_value"),
    "UInt64": (8, "long_value"), "Double": (10, "double_value"), "Boolean": (11, "boolean_value"),
    "String": (12, "string_value"), "DateTime": (13, "long_value"),
}  # fmt: skip


class PayloadError(VisionEdgeError):
    """A payload from outside is none of Sparkplug B, or not what was asked for."""


@dataclass(frozen=True)
class Metric:
    """One value.

    Attributes:
        name: Its name; `/` makes folders.
        kind: Its data type.
        value: What it is; None: null. Integers within their type's range, DateTime in milliseconds
            since 1970 UTC.
        at: When it was so, in milliseconds since 1970 UTC; None: when the message was sent.
        historical: Whether it is of the past and must not replace a newer value.
    """

    name: str
    kind: Kind
    value: Value
    at: int | None = None
    historical: bool = False


Told = tuple[Metric, int | None, bool]
"""A metric with its alias, or None, and whether its name and data type are told."""


@dataclass(frozen=True)
class Written:
    """A metric of a command that has come in.

    Attributes:
        name: Its name; empty where it is told by number.
        alias: Its number, or None.
        value: A boolean, number or text; None: null.
    """

    name: str
    alias: int | None
    value: Value


def encoded_payload(metrics: Iterable[Told], at: int | None, seq: int | None) -> bytes:
    """Return a payload.

    Args:
        metrics: What is told.
        at: When it is sent, in milliseconds since 1970 UTC; None leaves it out.
        seq: Its sequence number, 0 to 255; None leaves it out.
    """
    payload = _payload_class()()
    if at is not None:
        payload.timestamp = at
    if seq is not None:
        payload.seq = seq
    for metric, alias, named in metrics:
        _add(payload.metrics.add(), metric, alias, named, at)
    return bytes(payload.SerializeToString())


def decoded_command(payload: bytes) -> list[Written]:
    """Return the metrics of a command.

    Raises:
        PayloadError: If it is no payload of Sparkplug B, or holds none, or a value that is neither
            boolean, number nor text.
    """
    message = _payload_class()()
    error = require("google.protobuf.message").DecodeError
    try:
        message.ParseFromString(payload)
    except error as problem:
        raise PayloadError(
            f"a command of {len(payload)} bytes is no Sparkplug B payload", fix="send protobuf"
        ) from problem
    if not message.metrics:
        raise PayloadError("a command without a metric", fix="name the metric to be written")
    return [_written(metric) for metric in message.metrics]


def _add(message: Any, metric: Metric, alias: int | None, named: bool, sent: int | None) -> None:
    """Fill one metric of a payload."""
    code, field = _KINDS[metric.kind]
    if named or alias is None:
        message.name = metric.name
    if named:
        message.datatype = code
    if alias is not None:
        message.alias = alias
    at = sent if metric.at is None else metric.at
    if at is not None:
        message.timestamp = at
    if metric.historical:
        message.is_historical = True
    if metric.value is None:
        message.is_null = True
    else:
        setattr(message, field, _fit(metric))


def _fit(metric: Metric) -> Value:
    """Return a value as its field takes it: signed numbers go as their two's complement."""
    if metric.kind == "Int64" and isinstance(metric.value, int):
        return metric.value & 0xFFFF_FFFF_FFFF_FFFF
    return metric.value


def _written(metric: Any) -> Written:
    field = metric.WhichOneof("value")
    alias = int(metric.alias) if metric.HasField("alias") else None
    if metric.is_null or field is None:
        return Written(metric.name, alias, None)
    value = getattr(metric, field)
    if not isinstance(value, (bool, int, float, str)):
        raise PayloadError(f"{metric.name[:80]!r} is given {field}", fix="give a plain value")
    return Written(metric.name, alias, value)


@lru_cache(maxsize=1)
def _payload_class() -> Any:
    """Return the class of messages, made from the fields above: no generated code is needed."""
    descriptors = require("google.protobuf.descriptor_pb2")
    file = descriptors.FileDescriptorProto(
        name="vision_edge/sparkplug.proto", package=_PACKAGE, syntax="proto2"
    )
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    _add_fields(payload, _PAYLOAD_FIELDS)
    _add_fields(metric, _METRIC_FIELDS)
    _add_fields(metric, _VALUE_FIELDS, oneof=0)
    pool = require("google.protobuf.descriptor_pool").DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{_PACKAGE}.Payload")
    return require("google.protobuf.message_factory").GetMessageClass(found)


def _add_fields(
    message: Any, fields: Iterable[tuple[str, int, str]], oneof: int | None = None
) -> None:
    """Add fields to a message's description."""
    kinds = require("google.protobuf.descriptor_pb2").FieldDescriptorProto
    for name, number, kind in fields:
        inner = kind == "Metric"
        field = message.field.add(
            name=name,
            number=number,
            label=kinds.LABEL_REPEATED if inner else kinds.LABEL_OPTIONAL,
            type=kinds.TYPE_MESSAGE if inner else getattr(kinds, f"TYPE_{kind.upper()}"),
        )
        if inner:
            field.type_name = f".{_PACKAGE}.Payload.Metric"
        if oneof is not None:
            field.oneof_index = oneof
