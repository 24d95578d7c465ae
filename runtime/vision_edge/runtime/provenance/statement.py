"""What is signed: in-toto statements, version 1, of three kinds that cannot be mixed up.

An artifact (a bundle or a gallery's archive) with every file's hash; a key, endorsed by an older
one; a file of records. Source: "in-toto Attestation Framework", spec/v1/statement.md.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.names import Name

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
ARTIFACT: Literal["urn:vision-edge:artifact:v1"] = "urn:vision-edge:artifact:v1"
KEY: Literal["urn:vision-edge:key:v1"] = "urn:vision-edge:key:v1"
RECORDS: Literal["urn:vision-edge:records:v1"] = "urn:vision-edge:records:v1"
MAX_SUBJECTS = 2000
MAX_VERSION = (1 << 53) - 1
"""The largest whole number that every reader of JSON has exactly."""

Kind = Literal["bundle", "gallery"]
Purpose = Literal["bundle", "gallery", "records", "line"]
"""What a trusted key may sign."""
PURPOSES: tuple[Purpose, ...] = ("bundle", "gallery", "records", "line")
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[int, Field(ge=0, le=MAX_VERSION, strict=True)]
T = TypeVar("T", bound="_Statement")


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, defer_build=True
    )


class Digest(_Part):
    """A file's hash."""

    sha256: Hash


class Subject(_Part):
    """A file, and its hash.

    Attributes:
        name: Its path below the folder, with `/`.
        digest: Of its bytes.
    """

    name: Annotated[str, Field(min_length=1, max_length=300)]
    digest: Digest


class Artifact(_Part):
    """What an artifact's signature says of it.

    Attributes:
        kind: A bundle or a gallery's archive.
        name: Of which there are newer and older ones.
        version: Rises with every newer one of that name.
        signed_at: When it was signed, as the signer's clock said.
    """

    kind: Kind
    name: Name
    version: Version
    signed_at: Annotated[AwareDatetime, Field(alias="signedAt")]


class EndorsedKey(_Part):
    """A new key, vouched for by the one that signs.

    Attributes:
        name: What it is called.
        pem: The public key.
        not_before: From when on it counts.
        not_after: Until when.
        purposes: What it may sign.
        replaces: Id of the key that no longer counts for what is new; None for none.
        signed_at: When it was endorsed.
    """

    name: Name
    pem: Annotated[str, Field(max_length=1000)]
    not_before: Annotated[AwareDatetime, Field(alias="notBefore")]
    not_after: Annotated[AwareDatetime, Field(alias="notAfter")]
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=4)]
    replaces: Hash | None = None
    signed_at: Annotated[AwareDatetime, Field(alias="signedAt")]


class SealedRecords(_Part):
    """What the seal of a file of records says.

    Attributes:
        station: Who wrote it.
        number: Of the file; the station's first is 1.
        lines: Before the seal.
        head: SHA-256 of the last line before the seal, which holds the hash of the one before.
        previous: Of the last line of the file before; zeros for the first file.
        first: Time of the first line.
        last: Time of the last line before the seal.
        reason: Why it was sealed: `shift`, `size`, `stop` or `recovered`.
        signed_at: When.
    """

    station: Name
    number: Annotated[int, Field(ge=1)]
    lines: Annotated[int, Field(ge=1)]
    head: Hash
    previous: Hash
    first: AwareDatetime
    last: AwareDatetime
    reason: Literal["shift", "size", "stop", "recovered"]
    signed_at: Annotated[AwareDatetime, Field(alias="signedAt")]


class _Statement(_Part):
    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=MAX_SUBJECTS)]

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file, by its name."""
        return {subject.name: subject.digest.sha256 for subject in self.subject}

    def to_bytes(self) -> bytes:
        """Return it as JSON, of one form."""
        document = self.model_dump(mode="json", by_alias=True)
        return json.dumps(document, sort_keys=True, ensure_ascii=False).encode()


class ArtifactStatement(_Statement):
    """The statement on a bundle or a gallery's archive."""

    predicate_type: Annotated[
        Literal["urn:vision-edge:artifact:v1"], Field(alias="predicateType")
    ] = ARTIFACT
    predicate: Artifact


class KeyStatement(_Statement):
    """The statement on a new key."""

    predicate_type: Annotated[Literal["urn:vision-edge:key:v1"], Field(alias="predicateType")] = KEY
    predicate: EndorsedKey


class RecordsStatement(_Statement):
    """The statement on a file of records; its subject are the lines before the seal."""

    predicate_type: Annotated[
        Literal["urn:vision-edge:records:v1"], Field(alias="predicateType")
    ] = RECORDS
    predicate: SealedRecords


def parsed(kind: type[T], payload: bytes, where: str) -> T:
    """Parse a statement; only once a signature over it was found to hold.

    Args:
        kind: Which statement it must be.
        payload: Its JSON.
        where: What to call it in an error.

    Raises:
        ProvenanceError: If it is another statement, or says a file twice.
    """
    try:
        statement = kind.model_validate(json.loads(payload))
    except (ValidationError, ValueError, RecursionError) as error:
        raise ProvenanceError(
            f"{where}: what is signed is not what belongs here: {_first(error)}",
            fix="sign it with `vision-edge sign` of this version",
        ) from error
    if len(statement.files) < len(statement.subject):
        raise ProvenanceError(f"{where}: a file is signed twice", fix="sign it again")
    return statement


def subjects(files: dict[str, str]) -> tuple[Subject, ...]:
    """Return files as a statement lists them, sorted by name."""
    return tuple(Subject(name=name, digest=Digest(sha256=files[name])) for name in sorted(files))


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def utc_now() -> datetime:
    """Return now, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error)
