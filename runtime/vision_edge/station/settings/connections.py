"""What sections of wires share: how much waits on disk, and how a broker is reached."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Topic = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^+#\x00/]+(/[^+#\x00/]+)*$")]


class WireSection(BaseModel):
    """A table of the file: it cannot be changed, and knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OutboxSettings(WireSection):
    """How much a wire keeps on disk while its peer is away.

    Attributes:
        outbox_rows: Verdicts kept at most; beyond that the oldest are dropped, and counted.
        outbox_mb: Megabytes of verdicts kept at most.
        outbox_ms: Milliseconds that verdicts gather to be written together: more spares a flash
            disk, and delays their delivery as much.
    """

    outbox_rows: int = Field(1_000_000, ge=100, le=100_000_000)
    outbox_mb: int = Field(512, ge=1, le=100_000)
    outbox_ms: float = Field(0.0, ge=0, le=1000, allow_inf_nan=False)


class BrokerSettings(OutboxSettings):
    """A connection to an MQTT broker.

    Attributes:
        host: The broker.
        port: Its port; 1883 without TLS and 8883 with it where none is given.
        version: MQTT 5, or 3 for MQTT 3.1.1.
        tls: Encrypt, and verify the broker's certificate.
        tls_ca: File of the authorities to trust; the system's where none is given.
        tls_cert: The station's own certificate, for a broker that asks for one.
        tls_key: The key of `tls_cert`.
        username: Name to log in with.
        password_file: File that holds the password, and nothing else.
        client_id: Unique among the broker's clients; made of the station's name where none is
            given.
        keepalive: Seconds of silence after which a connection is checked.
        in_flight: Verdicts sent before the first of them is acknowledged.
        repeat_s: Verdicts acknowledged in the last so many seconds before a connection broke are
            sent again, since a broker that crashed may have lost them: more than its own interval
            between two savings. 0 repeats only what was not acknowledged.
    """

    section: ClassVar[str]

    host: str = Field("127.0.0.1", min_length=1)
    port: Port | None = None
    version: Literal[3, 5] = 5
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    client_id: str | None = Field(None, min_length=1, max_length=100)
    keepalive: int = Field(30, ge=5, le=3600)
    in_flight: int = Field(100, ge=1, le=10_000)
    repeat_s: float = Field(5.0, ge=0, le=3600, allow_inf_nan=False)

    @model_validator(mode="after")
    def _consistent(self) -> BrokerSettings:
        if not self.tls and (self.tls_ca or self.tls_cert or self.tls_key):
            raise ValueError("tls_ca, tls_cert and tls_key need tls = true")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key need each other")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs a username")
        return self

    @property
    def real_port(self) -> int:
        """The port, given or by default."""
        return self.port or (8883 if self.tls else 1883)


def host_and_port(host: str, port: int) -> str:
    """Return an address as people and URLs write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether an address never leaves this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
