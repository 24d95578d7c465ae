"""Payloads of Sparkplug B and the host's STATE: what goes out, and whatever comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sparkplug import pysparkplug

from vision_edge.station.wires.sparkplug.edge_node import EdgeNode, EdgeTopics
from vision_edge.station.wires.sparkplug.payload import (
    Metric,
    PayloadError,
    decoded_command,
    encoded_payload,
)
from vision_edge.station.wires.sparkplug.primary_host import PrimaryHost


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Int64", -(2**63)), ("Int64", 2**63 - 1), ("UInt16", 65535), ("UInt32", 2**32 - 1),
        ("UInt64", 2**64 - 1), ("Double", -1.5e300), ("Boolean", False), ("String", "nüt\n"),
        ("String", ""), ("Double", None),
    ],
)  # fmt: skip
def test_the_ends_of_every_type_are_read_by_another_project(kind: Any, value: Any) -> None:
    told = [(Metric("a/b", kind, value, at=5, historical=True), 3, True)]
    got = pysparkplug.DBirth.decode(encoded_payload(told, 7, 255))
    (metric,) = got.metrics
    assert (got.timestamp, got.seq) == (7, 255)
    assert (metric.name, metric.alias, metric.timestamp, metric.value) == ("a/b", 3, 5, value)
    assert metric.is_historical
    assert metric.datatype.name == kind.upper()


@given(st.binary(max_size=200))
def test_whatever_comes_in_is_a_command_or_refused(payload: bytes) -> None:
    try:
        written = decoded_command(payload)
    except PayloadError as error:
        assert error.fix
    else:
        assert all(isinstance(one.value, (bool, int, float, str, type(None))) for one in written)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda online, at: f'{{"online": {online}, "timestamp": {at}}}'.encode(),
            st.sampled_from(["true", "false", "1", "null", '"true"']),
            st.sampled_from(["0", "5", "-1", "1.5", "true", "1e400", "null", "9" * 400]),
        ),
    )
)
def test_whatever_a_host_says_is_taken_or_warned_of(payload: bytes) -> None:
    host = PrimaryHost("scada")
    host.connecting()
    host.take(payload, False)
    assert host.online or host.warning or b"false" in payload


@pytest.mark.parametrize("wrong", [-1, 2**64, "7", 1.5, b"7"])
def test_what_cannot_be_encoded_uses_no_sequence_number_up(wrong: Any) -> None:
    node = EdgeNode(EdgeTopics("g", "n"), aliases=True)
    node.connecting(0)
    node.birth([])
    with pytest.raises(ValueError):
        node.device_birth("cam", [Metric("a", "UInt64", wrong)])
    assert node.born == set()
    _, payload = node.device_birth("cam", [Metric("a", "UInt64", 1)])
    assert pysparkplug.DBirth.decode(payload).seq == 1


def test_sequence_numbers_go_from_0_to_255_and_begin_anew_with_a_birth() -> None:
    node = EdgeNode(EdgeTopics("g", "n"), aliases=False)
    node.connecting(255)
    node.birth([])
    numbers = [pysparkplug.NData.decode(node.data([])[1]).seq for _ in range(260)]
    assert numbers == [*range(1, 256), *range(5)]
    assert pysparkplug.NBirth.decode(node.birth([])[1]).seq == 0
