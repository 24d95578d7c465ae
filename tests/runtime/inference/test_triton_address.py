"""Addresses of Triton models: read strictly, and no secret in them."""

from __future__ import annotations

import pytest

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.triton_address import (
    TOKEN,
    TritonAddress,
    headers_for,
    parse_triton,
)


def test_an_address_is_read() -> None:
    plain = parse_triton("triton://gpu-1:8001/parts.v2")
    assert plain == TritonAddress("gpu-1:8001", "parts.v2")
    assert str(plain) == "triton://gpu-1:8001/parts.v2"
    full = parse_triton("triton://[::1]:9001/m?tls=1&timeout=0.5&patience=60&version=3")
    assert full == TritonAddress("[::1]:9001", "m", "3", True, 0.5, 60.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("triton://host/model", "host and port"),
        ("triton://:8001/model", "host and port"),
        ("triton://host:8001", "no name of a model"),
        ("triton://host:8001/a/b", "no name of a model"),
        ("triton://host:port/m", "address of a Triton model"),
        ("triton://host:8001/m?speed=9", "unknown option 'speed'"),
        ("triton://host:8001/m?tls=yes", "tls is 0 or 1"),
        ("triton://host:8001/m?timeout=0", "timeout is a number of seconds"),
        ("triton://host:8001/m?timeout=nan", "timeout is a number of seconds"),
        ("triton://host:8001/m?patience=x", "patience is a number of seconds"),
        ("triton://host:8001/m?tls", "address of a Triton model"),
    ],
)
def test_what_is_no_address_is_refused(text: str, why: str) -> None:
    with pytest.raises(VisionEdgeError, match=why) as caught:
        parse_triton(text)
    assert "triton://host:8001/model" in str(caught.value.fix)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(VisionEdgeError) as caught:
        parse_triton("triton://me:hunter2@host:8001/m")
    assert "hunter2" not in str(caught.value)
    assert TOKEN in str(caught.value.fix)


def test_a_token_travels_encrypted_or_stays_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = parse_triton("triton://host:8001/m")
    monkeypatch.delenv(TOKEN, raising=False)
    assert headers_for(far) == {}
    monkeypatch.setenv(TOKEN, "s3cret")
    with pytest.raises(VisionEdgeError, match="unencrypted") as caught:
        headers_for(far)
    assert "s3cret" not in str(caught.value)
    for near in ("triton://host:8001/m?tls=1", "triton://localhost:8001/m", "triton://[::1]:1/m"):
        assert headers_for(parse_triton(near)) == {"authorization": "Bearer s3cret"}
