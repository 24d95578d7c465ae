"""Signing bundles, archives and keys: each file hashed, the statement signed, the envelope written.

A folder's signature lies in it, as `signature.dsse.json`; a file's lies beside it, as
`FILE.dsse.json`, since a file whose signature were inside would have to be parsed to find it.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.envelope import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    encoded,
)
from vision_edge.runtime.provenance.keys import PrivateKey, PublicKey
from vision_edge.runtime.provenance.names import SIGNATURE_FILE, SUFFIX
from vision_edge.runtime.provenance.statement import (
    Artifact,
    ArtifactStatement,
    KeyStatement,
    Kind,
    Purpose,
    sha256_of,
    subjects,
    utc_now,
)
from vision_edge.runtime.system.files import atomic_file, sha256_file

T = TypeVar("T", bound=BaseModel)


def signature_of(path: Path) -> Path:
    """Return where the signature of a folder or a file lies."""
    return path / SIGNATURE_FILE if path.is_dir() else path.with_name(path.name + SUFFIX)


def sign_folder(
    folder: Path, kind: Kind, key: PrivateKey, name: str, version: int | None = None
) -> Artifact:
    """Sign every file of a folder and of the folders in it; an older signature is replaced.

    Args:
        folder: The folder; whoever calls has checked that it is sound.
        kind: What it is.
        key: Signs.
        name: Of which there are newer and older ones.
        version: Must rise; default: milliseconds since 1970.

    Raises:
        ProvenanceError: If a file is a link or cannot be read, or a name is not fit.
    """
    return _sign(folder, _hashes(folder), kind, key, name, version)


def sign_file(
    path: Path, kind: Kind, key: PrivateKey, name: str, version: int | None = None
) -> Artifact:
    """Sign a file; an older signature beside it is replaced.

    Raises:
        ProvenanceError: If it cannot be read, or a name is not fit.
    """
    try:
        files = {path.name: sha256_file(path)}
    except OSError as error:
        raise _unreadable(path, error) from error
    return _sign(path, files, kind, key, name, version)


def endorse(
    new: PublicKey,
    name: str,
    key: PrivateKey,
    *,
    not_before: datetime,
    not_after: datetime,
    purposes: tuple[Purpose, ...],
    replaces: bool = False,
) -> Envelope:
    """Vouch for a new key with an older one, so that stores that trust the older take the new.

    Args:
        new: The new key.
        name: What to call it.
        key: The older one.
        not_before: From when on the new one counts.
        not_after: Until when.
        purposes: What it may sign, at most what the older may.
        replaces: Whether the older one no longer counts for what is new.

    Raises:
        ProvenanceError: If a name is not fit.
    """
    statement = _made(
        KeyStatement,
        subject=subjects({f"{name}.pub": sha256_of(new.to_pem().encode())}),
        predicate={
            "name": name, "pem": new.to_pem(), "not_before": not_before, "not_after": not_after,
            "purposes": purposes, "replaces": key.keyid if replaces else None,
            "signed_at": utc_now(),
        },
    )  # fmt: skip
    return enveloped(statement.to_bytes(), key)


def enveloped(payload: bytes, key: PrivateKey, kind: str = PAYLOAD_TYPE) -> Envelope:
    """Return a payload of a media type with a key's signature over both."""
    return Envelope(payload, (Signature(key.keyid, key.sign(encoded(kind, payload))),), kind)


def files_in(folder: Path) -> list[str]:
    """Return the path below a folder of every file in it but its signature, sorted.

    Raises:
        ProvenanceError: If there is a link or a device among them.
    """
    found = []
    for at, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            path = Path(at, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ProvenanceError(
                    f"{path}: a link, or no plain file", fix="put the file itself there"
                )
        found += [Path(at, name).relative_to(folder).as_posix() for name in files]
    return sorted(set(found) - {SIGNATURE_FILE})


def _sign(
    path: Path,
    files: dict[str, str],
    kind: Kind,
    key: PrivateKey,
    name: str,
    version: int | None,
) -> Artifact:
    artifact = {
        "kind": kind, "name": name, "signed_at": utc_now(),
        "version": time.time_ns() // 1_000_000 if version is None else version,
    }  # fmt: skip
    statement = _made(ArtifactStatement, subject=subjects(files), predicate=artifact)
    target = signature_of(path)
    try:
        with atomic_file(target) as temporary:
            temporary.write_bytes(enveloped(statement.to_bytes(), key).to_bytes())
    except OSError as error:
        raise ProvenanceError(
            f"{target}: cannot be written ({error.strerror})", fix="check the folder's rights"
        ) from error
    return statement.predicate


def _made(kind: type[T], **fields: object) -> T:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise ProvenanceError(
            f"cannot be signed so: {'.'.join(map(str, problem['loc']))}: {problem['msg']}",
            fix="give another --name (letters, digits, spaces and . : + @ -) or --version",
        ) from error


def _hashes(folder: Path) -> dict[str, str]:
    try:
        return {name: sha256_file(folder / name) for name in files_in(folder)}
    except OSError as error:
        raise _unreadable(folder, error) from error


def _raise(error: OSError) -> None:
    raise error


def _unreadable(path: Path, error: OSError) -> ProvenanceError:
    return ProvenanceError(f"{path}: cannot be read ({error.strerror})", fix="check the path")
