"""What was taken so far: the highest version of each name, so that older ones are refused.

An attacker who holds an old bundle, validly signed, would otherwise put its known weakness back.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.names import HELD, Name
from vision_edge.runtime.provenance.statement import Artifact, Hash, Kind, Version
from vision_edge.runtime.system.files import atomic_file, read_regular

_MAX_FILE = 4 << 20


class TakenName(BaseModel):
    """What was taken under a name.

    Attributes:
        version: The highest.
        held: SHA-256 of the statements of the one in use and of the one before.
        signed_at: The latest time of signing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Version
    held: Annotated[tuple[Hash, ...], Field(min_length=1, max_length=HELD)]
    signed_at: AwareDatetime


class TakenDocument(BaseModel):
    """The file: by kind, then by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    bundle: dict[Name, TakenName] = {}
    gallery: dict[Name, TakenName] = {}

    def of(self, kind: Kind) -> dict[str, TakenName]:
        """Return what was taken of a kind, by name."""
        return self.bundle if kind == "bundle" else self.gallery


class Taken:
    """The memory of what was taken, in one file; several processes may use it.

    Args:
        path: The file; made with the first that is taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Taken({str(self.path)!r})"

    def holds(self, artifact: Artifact, sha256: str, most: int) -> bool:
        """Whether a statement is one of the `most` last that were taken under its name."""
        known = self._read().of(artifact.kind).get(artifact.name)
        return known is not None and sha256 in known.held[:most]

    def refusal(self, artifact: Artifact, sha256: str | None) -> str | None:
        """Return why an artifact is not to be taken; None if it is new enough.

        A bundle takes another's place, whatever both are called: it must not have been signed
        before any that was taken, so that an old one under another name comes no more.

        Args:
            artifact: What its signature says of it.
            sha256: Of its statement; None where there is another statement on the same.

        Raises:
            ProvenanceError: If the file is damaged.
        """
        of_kind = self._read().of(artifact.kind)
        known = of_kind.get(artifact.name)
        latest = max((t.signed_at for t in of_kind.values()), default=artifact.signed_at)
        late = artifact.kind == "bundle" and artifact.signed_at < latest
        newest = (
            f"{artifact.name!r} was signed {artifact.signed_at.isoformat()}, which is older than "
            f"one that was taken here (signed {latest.isoformat()})"
        )
        if known is None or artifact.version > known.version:
            return newest if late else None
        if artifact.version < known.version:
            return (
                f"version {artifact.version} of {artifact.name!r} (signed "
                f"{artifact.signed_at.isoformat()}) is older than version {known.version}, which "
                "was taken here"
            )
        if sha256 is None or sha256 in known.held:
            return newest if late else None
        return f"another {artifact.name!r} of the very version {artifact.version} was taken here"

    def latest(self) -> datetime | None:
        """Return the latest time of signing of all that was taken: it is later than that now."""
        document = self._read()
        times = [t.signed_at for kind in (document.bundle, document.gallery) for t in kind.values()]
        return max(times, default=None)

    def keep(self, artifact: Artifact, sha256: str) -> None:
        """Remember that an artifact was taken.

        Raises:
            ProvenanceError: If the file is damaged or cannot be written.
        """
        try:
            with self._locked():
                document = self._read()
                of_kind = document.of(artifact.kind)
                known = of_kind.get(artifact.name)
                new = _after(known, artifact, sha256)
                if new != known:
                    named = {**of_kind, artifact.name: new}
                    self._write(document.model_copy(update={artifact.kind: named}))
        except OSError as error:
            raise ProvenanceError(
                f"{self.path}: cannot be written ({error.strerror}), and without it older versions "
                "would be taken",
                fix="check the folder, its rights and the room on its disk",
            ) from error

    def _write(self, document: TakenDocument) -> None:
        with atomic_file(self.path) as temporary:
            text = json.dumps(document.model_dump(mode="json"), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _read(self) -> TakenDocument:
        try:
            return TakenDocument.model_validate_json(read_regular(self.path, _MAX_FILE))
        except FileNotFoundError:
            return TakenDocument()
        except (OSError, ValueError, ValidationError) as error:
            raise ProvenanceError(
                f"{self.path}: what was taken so far cannot be read",
                fix="restore it; without the file, any validly signed version would be taken",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _after(known: TakenName | None, artifact: Artifact, sha256: str) -> TakenName:
    if known is None:
        return TakenName(version=artifact.version, held=(sha256,), signed_at=artifact.signed_at)
    others = tuple(held for held in known.held if held != sha256)
    return TakenName(
        version=max(known.version, artifact.version),
        held=(sha256, *others)[:HELD],
        signed_at=max(known.signed_at, artifact.signed_at),
    )
