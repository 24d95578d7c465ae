"""The address of a model on a Triton server: `triton://host:8001/model?tls=1&timeout=5`."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from vision_edge.runtime.errors import VisionEdgeError

TOKEN = "VISION_EDGE_TRITON_TOKEN"  # noqa: S105  # a variable's name
CA, CERTIFICATE, KEY = (f"VISION_EDGE_TRITON_{name}" for name in ("CA", "CERT", "KEY"))
"""Environment variables: what is secret stands on no command line."""

_OPTIONS = ("tls", "timeout", "patience", "version")
_EXAMPLE = "triton://host:8001/model, or triton://host:8001/model?tls=1&timeout=5&patience=10"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class TritonAddress:
    """Where a model is served.

    Attributes:
        server: `host:port` of the server's gRPC.
        model: The model's name there.
        version: The version to use; empty for the one that the server chooses.
        tls: Whether the connection is encrypted.
        timeout: Seconds that one request may take.
        patience: Seconds for which a server that is away is tried again.
    """

    server: str
    model: str
    version: str = ""
    tls: bool = False
    timeout: float = 5.0
    patience: float = 10.0

    def __str__(self) -> str:
        """The address without its options."""
        return f"triton://{self.server}/{self.model}"


def parse_triton(text: str) -> TritonAddress:
    """Parse an address.

    Raises:
        VisionEdgeError: If it is none, an option is unknown, or it holds a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise _bad(text, str(error)) from error
    model = parts.path.strip("/")
    if parts.username is not None or parts.password is not None:
        raise VisionEdgeError(
            "a Triton address holds no user and no password", fix=f"set {TOKEN} instead"
        )
    if parts.scheme != "triton" or not parts.hostname or port is None:
        raise _bad(text, "host and port are needed")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", model):
        raise _bad(text, f"{model!r} is no name of a model")
    if unknown := set(options) - set(_OPTIONS):
        raise _bad(text, f"unknown option {min(unknown)!r} (there are {', '.join(_OPTIONS)})")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return TritonAddress(
        f"{host}:{port}",
        model,
        options.get("version", ""),
        _switch(text, options.get("tls", "0")),
        _seconds(text, "timeout", options.get("timeout", "5")),
        _seconds(text, "patience", options.get("patience", "10")),
    )


def _bad(text: str, why: str) -> VisionEdgeError:
    return VisionEdgeError(f"{text!r} is no address of a Triton model: {why}", fix=_EXAMPLE)


def _switch(text: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise _bad(text, f"tls is 0 or 1, not {value!r}")
    return value == "1"


def _seconds(text: str, name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds <= _MAX_SECONDS:
        raise _bad(text, f"{name} is a number of seconds up to {_MAX_SECONDS:g}, not {value!r}")
    return seconds


def headers_for(address: TritonAddress) -> dict[str, str]:
    """Return the headers of each request: the token of the environment, if there is one.

    Raises:
        VisionEdgeError: If the token would travel unencrypted to another machine.
    """
    token = os.environ.get(TOKEN)
    if not token:
        return {}
    if not address.tls and address.server.rpartition(":")[0].strip("[]") not in _LOOPBACK:
        raise VisionEdgeError(
            f"{address}: the token of {TOKEN} would be sent unencrypted",
            fix="add ?tls=1 to the address, or unset the variable",
        )
    return {"authorization": f"Bearer {token}"}
