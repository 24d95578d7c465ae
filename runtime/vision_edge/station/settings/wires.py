"""Settings of the wires: `[mqtt]`, `[sparkplug]`, `[webhook]`, `[modbus]` and `[opcua]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from vision_edge.station.settings.connections import (
    BrokerSettings,
    OutboxSettings,
    Port,
    Seconds,
    Topic,
    WireSection,
    is_loopback,
)
from vision_edge.station.settings.sparkplug import SparkplugSettings

__all__ = [
    "ModbusSettings",
    "MqttSettings",
    "OpcuaSettings",
    "SparkplugSettings",
    "WebhookSettings",
    "WireSettings",
]


class MqttSettings(BrokerSettings):
    """The section `[mqtt]`: besides a broker's keys, as `BrokerSettings` has them, these.

    Attributes:
        topic_prefix: First level, or levels, of all topics.
        subscriber_wait_s: Seconds that verdicts wait on a new connection where the broker says
            (MQTT 5) that nobody subscribes to them: subscribers too come back after a restart.
        expect: Take which product a source should show; off, since it changes what verdicts say.
        resets: Take commands to count parts anew; whoever may publish there may then reset.
        discovery: Announce the sources to Home Assistant and what understands its messages.
        discovery_prefix: First level of the topics of those announcements.
        expire_s: Seconds without a verdict after which an announced sensor's value no longer
            counts; 0: never.
        pictures: Publish the picture of the latest verdict of each source, retained.
    """

    section: ClassVar[str] = "mqtt"

    topic_prefix: Topic = "vision-edge"
    subscriber_wait_s: float = Field(30.0, ge=0, le=3600, allow_inf_nan=False)
    expect: bool = False
    resets: bool = False
    discovery: bool = False
    discovery_prefix: Topic = "homeassistant"
    expire_s: int = Field(600, ge=0, le=604_800)
    pictures: bool = False


class WebhookSettings(OutboxSettings):
    """The section `[webhook]`.

    Attributes:
        url: Where verdicts are posted: http or https, without a user name or password.
        secret_file: File with the secret that signs every request.
        token_file: File with a token for `Authorization: Bearer`; only over https, or to loopback.
        tls_ca: File of the authorities to trust; the system's where none is given.
        batch: Verdicts a request at most. 1 posts an object, more a list.
        timeout: Seconds that one request may take in all.
        retry_longest: Seconds between two attempts at most.
    """

    # An address that holds a password is refused: the message must not show it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    secret_file: Path | None = None
    token_file: Path | None = None
    tls_ca: Path | None = None
    batch: int = Field(1, ge=1, le=1000)
    timeout: Seconds = 5.0
    retry_longest: Seconds = 60.0

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address that begins with http:// or https:// is needed")
        if parts.username is not None or parts.password is not None:
            raise ValueError("no user name or password in the address: use token_file")
        if not url.isascii() or any(not " " < sign < "\x7f" for sign in url) or parts.port == 0:
            raise ValueError("the address holds signs that must be percent-encoded")
        return url

    @model_validator(mode="after")
    def _token_is_protected(self) -> WebhookSettings:
        parts = urlsplit(self.url)
        if self.token_file and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("token_file needs https: over http everyone on the way reads it")
        return self


class ModbusSettings(WireSection):
    """The section `[modbus]`: a Modbus TCP server.

    Attributes:
        host: Address to listen on. Modbus has no login: beyond loopback, whoever reaches the port
            reads the verdicts and triggers.
        port: Port to listen on; 502 is the usual one and needs a privilege.
        unit: Unit identifier that is answered; 0 answers all.
        products: Product codes by label, 1 to 65533, for the register "product".
        first_code: The least code that a product without one here is given, when it is registered;
            it keeps it for good.
        triggers: Let a coil trigger its source.
        expect: Let a holding register say which product its source should show; off, since Modbus
            has no login.
        resets: Let a coil reset the parts' counts.
    """

    host: str = "127.0.0.1"
    port: Port = 5020
    unit: int = Field(0, ge=0, le=247)
    products: dict[str, Annotated[int, Field(ge=1, le=65533)]] = Field(default_factory=dict)
    first_code: Annotated[int, Field(ge=1, le=65533)] = 1
    triggers: bool = True
    expect: bool = False
    resets: bool = False

    @field_validator("products")
    @classmethod
    def _distinct(cls, products: dict[str, int]) -> dict[str, int]:
        codes = list(products.values())
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise ValueError(f"product codes given twice: {twice}")
        return products


class OpcuaSettings(WireSection):
    """The section `[opcua]`: an OPC UA server.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        security: `"none"`, or `"sign"` or `"sign-and-encrypt"` (Basic256Sha256) at least.
        certificate: The server's certificate; DER or PEM.
        private_key: Its key, without a passphrase.
        trusted: Folder of the client certificates that may connect.
        username: Name that a client must log in with.
        password_file: File that holds the password, and nothing else.
        triggers: Offer the method `Trigger`.
        expect: Offer the method `Expect`: which product a source should show.
        resets: Offer the method `ResetCounts`.
        machine_vision: Show every source also as a vision system of OPC 40100-1.
        nodeset: The OPC Foundation's NodeSet of it, whose types are used then; without it a model
            of the same names in a namespace of the station's own.
    """

    host: str = "127.0.0.1"
    port: Port = 4840
    security: Literal["none", "sign", "sign-and-encrypt"] = "none"
    certificate: Path | None = None
    private_key: Path | None = None
    trusted: Path | None = None
    username: str | None = Field(None, min_length=1)
    password_file: Path | None = None
    triggers: bool = True
    expect: bool = False
    resets: bool = False
    machine_vision: bool = False
    nodeset: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> OpcuaSettings:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key need each other")
        if self.security != "none" and self.certificate is None:
            raise ValueError(f'security = "{self.security}" needs certificate and private_key')
        if self.security == "none" and self.trusted is not None:
            raise ValueError("trusted needs security = sign or sign-and-encrypt")
        if self.nodeset is not None and not self.machine_vision:
            raise ValueError("nodeset needs machine_vision = true")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file need each other")
        if self.username is not None and self.security != "sign-and-encrypt":
            raise ValueError("a password needs security = sign-and-encrypt")
        return self


class WireSettings(WireSection):
    """All wires; a section that is absent is a wire that the station does not have."""

    mqtt: MqttSettings | None = None
    sparkplug: SparkplugSettings | None = None
    webhook: WebhookSettings | None = None
    modbus: ModbusSettings | None = None
    opcua: OpcuaSettings | None = None
