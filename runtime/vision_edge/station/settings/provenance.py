"""The sections `[provenance]` and `[records]`: whose signatures count, and what is signed here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vision_edge.runtime.provenance.names import Name


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProvenanceSettings(_Section):
    """The section `[provenance]`.

    Attributes:
        trust: The trust store, a folder that `vision-edge keys` writes.
        require_signature: Whether a bundle must be signed by one of its keys; false asks for none.
        names: Names that bundles are taken under; empty takes every name.
        allow_older: Take bundles that are older than what was taken here.
        device_engines: Accept engines in a bundle's folder that were not signed with it: those
            that this device has compiled.
        line_key: This station's private key: signs the products that it says to its line.
        line_passphrase_file: The passphrase of an encrypted one.
        require_line_signature: Whether products of the line must be signed by a key of the store.
    """

    trust: Path
    require_signature: bool = True
    names: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    allow_older: bool = False
    device_engines: bool = False
    line_key: Path | None = None
    line_passphrase_file: Path | None = None
    require_line_signature: bool = False


class RecordsSettings(_Section):
    """The section `[records]`: verdicts and deeds, signed, in files that are only appended to.

    Attributes:
        key: The station's private key, of `vision-edge keys new`; it signs records alone.
        passphrase_file: The passphrase of an encrypted one.
        folder: Where the files lie; by default `records` in the state folder.
        file_mb: Megabytes of a file, after which a new one begins within a shift.
        most_mb: Megabytes of all files. Nothing is deleted: when they are full, recording stops,
            which the status says, and what was not recorded is counted in the records.
    """

    key: Path
    passphrase_file: Path | None = None
    folder: Path | None = None
    file_mb: Annotated[float, Field(ge=0.01, le=10_000)] = 64.0
    most_mb: Annotated[float, Field(ge=0.02, le=1e7)] = 4096.0
