"""Checking where a bundle or an archive comes from, before a byte of it is parsed."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.names import MAX_ENVELOPE
from vision_edge.runtime.provenance.signing import files_in, signature_of
from vision_edge.runtime.provenance.statement import (
    Artifact,
    ArtifactStatement,
    Kind,
    parsed,
    sha256_of,
    utc_now,
)
from vision_edge.runtime.provenance.taken import Taken
from vision_edge.runtime.provenance.trust import TrustedKey, TrustStore, signers, untrusted
from vision_edge.runtime.system.files import read_regular, sha256_file

AHEAD = timedelta(days=1)
"""How far in the future something may have been signed: clocks differ."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Signed:
    """A statement whose signature holds and counts.

    Attributes:
        statement: What it says.
        key: Whose signature it is.
        sha256: Of the statement as it was signed.
        notes: What a person should know, such as that the key has expired since.
    """

    statement: ArtifactStatement
    key: TrustedKey
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def artifact(self) -> Artifact:
        """What the statement says of the bundle or archive."""
        return self.statement.predicate

    def check(self, name: str, data: bytes, where: Path) -> None:
        """Check that bytes are those of a file that was signed.

        Raises:
            ProvenanceError: If they are not.
        """
        self.check_hash(name, sha256_of(data), where)

    def check_hash(self, name: str, sha256: str, where: Path) -> None:
        """Check that a file's hash is the one that was signed.

        Raises:
            ProvenanceError: If it is not.
        """
        wanted = self.statement.files.get(name)
        if wanted != sha256:
            said = "names no such file" if wanted is None else f"says {wanted[:12]}…"
            raise ProvenanceError(
                f"{where}: {name} has SHA-256 {sha256[:12]}…, its signature {said}",
                fix="copy it again from where it was signed",
            )


@dataclass(frozen=True)
class Provenance:
    """What must be signed, by whom, and how new it must be.

    Attributes:
        store: Whom to trust.
        taken: What was taken so far; None refuses nothing for its age.
        names: The names that are taken; empty for all.
        allow_older: Take what is older than what was taken.
        device_engines: Accept files in a bundle's folders that were not signed: engines that this
            device has compiled.
        held: How many of the last that were taken count as they are, whatever their age or their
            key's: 0 for what is new, 1 for what is in use, 2 to return to the one before as well.
        clock: Says what time it is.
    """

    store: TrustStore
    taken: Taken | None = None
    names: Sequence[str] = ()
    allow_older: bool = False
    device_engines: bool = False
    held: int = 0
    clock: Callable[[], datetime] = utc_now

    def holding(self, held: int) -> Provenance:
        """Return the same for what is in use (1), or that and the one before (2)."""
        return replace(self, held=held)

    def folder(self, folder: Path, kind: Kind = "bundle") -> Signed:
        """Check a folder's signature, and that it holds the files that were signed and no others.

        The files at its top are not read here: whoever reads one hands the bytes to
        `Signed.check`. Those in folders below are hashed, and need not be there: a bundle is
        whole without its engines.

        Raises:
            ProvenanceError: If it is not signed by whom is trusted, too old, or has other files.
        """
        signed = self._envelope(folder, kind)
        try:
            there = set(files_in(folder))
        except OSError as error:
            raise ProvenanceError(f"{folder}: cannot be read", fix="check its rights") from error
        wanted = set(signed.statement.files)
        added = {n for n in there - wanted if not (self.device_engines and "/" in n)}
        if added:
            raise ProvenanceError(
                f"{folder}: has files that were not signed: {', '.join(sorted(added)[:5])}",
                fix="remove them; engines that this device has compiled: sign the bundle again, "
                "or set device_engines",
            )
        missing = sorted(name for name in wanted - there if "/" not in name)
        if missing:  # an engine that is not there does no harm: it is built again
            lacking = ", ".join(missing[:5])
            raise ProvenanceError(
                f"{folder}: lacks files that were signed: {lacking}",
                fix="copy it again from where it was signed",
            )
        for name in sorted(name for name in wanted & there if "/" in name):
            signed.check_hash(name, sha256_file(folder / name), folder)
        return signed

    def file(self, path: Path, kind: Kind, stream: BinaryIO, *, exact: bool = True) -> Signed:
        """Check a file's signature, which lies beside it, over the bytes of an open stream.

        Args:
            path: The file, whose signature is read.
            kind: What it must be.
            stream: Its bytes: those that are used, read from the beginning, and to be used again
                from there.
            exact: Whether another statement of the same version is refused.

        Raises:
            ProvenanceError: If it is not signed by whom is trusted, or too old.
        """
        signed = self._envelope(path, kind, exact=exact)
        digest = hashlib.sha256()
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
        stream.seek(0)
        return self._of_one_file(signed, path, digest.hexdigest())

    def hashed(self, path: Path, kind: Kind, sha256: str, *, exact: bool = True) -> Signed:
        """Check a file's signature, which lies beside it, over a hash that the caller has made.

        Raises:
            ProvenanceError: If it is not signed by whom is trusted, or too old.
        """
        return self._of_one_file(self._envelope(path, kind, exact=exact), path, sha256)

    def enveloped_hash(self, data: bytes, kind: Kind, sha256: str, where: str) -> Signed:
        """Check an envelope that was brought apart from its file, whose hash is known.

        Another statement of the same version is no refusal here: a zip has one of its own.

        Raises:
            ProvenanceError: If it is not signed by whom is trusted, or too old.
        """
        signed = self.enveloped(data, kind, where, exact=False)
        return self._of_one_file(signed, Path(where), sha256)

    def enveloped(self, data: bytes, kind: Kind, where: str, *, exact: bool = True) -> Signed:
        """Check an envelope: its signature, its key, and that it is new enough.

        Raises:
            ProvenanceError: If one of them is not.
        """
        envelope = Envelope.from_bytes(data, where)
        key = self.store.signer(envelope, kind, where)
        statement = parsed(ArtifactStatement, envelope.payload, where)
        signed = Signed(statement, key, sha256_of(envelope.payload))
        if statement.predicate.kind != kind:
            raise ProvenanceError(
                f"{where}: the signature is over a {statement.predicate.kind}, not a {kind}",
                fix="sign what it lies beside",
            )
        self._check_name(signed.artifact, where)
        return self._check_age(signed, where, exact=exact)

    def kind_of(self, path: Path) -> Kind:
        """Return what a trusted key has signed a file as; what else must hold is not looked at.

        Raises:
            ProvenanceError: If no signature of a trusted key over it holds.
        """
        envelope = Envelope.from_bytes(self._read(path), str(path))
        holding, problems = signers(self.store.keys(), envelope)
        if not holding:
            raise untrusted(str(path), problems)
        return parsed(ArtifactStatement, envelope.payload, str(path)).predicate.kind

    def take(self, signed: Signed) -> None:
        """Remember that something was taken: from now on older ones are refused.

        Raises:
            ProvenanceError: If that cannot be written.
        """
        if self.taken is not None:
            self.taken.keep(signed.artifact, signed.sha256)

    def _envelope(self, path: Path, kind: Kind, *, exact: bool = True) -> Signed:
        return self.enveloped(self._read(path), kind, str(path), exact=exact)

    def _read(self, path: Path) -> bytes:
        at = signature_of(path)
        try:
            return read_regular(at, MAX_ENVELOPE)
        except OSError as error:
            what = "is not signed" if error.errno == errno.ENOENT else "has no readable signature"
            raise ProvenanceError(
                f"{path}: {what} ({at.name}: {error.strerror or error}), and a signature is "
                "required",
                fix="sign it where it was made: vision-edge sign PATH --key KEY",
            ) from error

    def _of_one_file(self, signed: Signed, path: Path, sha256: str) -> Signed:
        """Check the hash; a file may be called otherwise than when it was signed."""
        names = list(signed.statement.files)
        if len(names) != 1:
            raise ProvenanceError(
                f"{path}: its signature is over {len(names)} files", fix="sign this file"
            )
        signed.check_hash(names[0], sha256, path)
        return signed

    def _check_name(self, artifact: Artifact, where: str) -> None:
        if self.names and artifact.name not in self.names:
            raise ProvenanceError(
                f"{where}: signed as {artifact.name!r}; taken are {', '.join(self.names)}",
                fix="sign it with --name, or add the name to the settings",
            )

    def _check_age(self, signed: Signed, where: str, *, exact: bool) -> Signed:
        """Check key and age; what was taken already counts as it is, unless its key is revoked."""
        artifact, taken = signed.artifact, self.taken
        now = self._now()
        late = signed.key.not_now(now)
        if late is None and artifact.signed_at > now + AHEAD:
            late = (
                f"signed at {artifact.signed_at.isoformat()}, and this machine's clock says "
                f"{now.isoformat()}"
            )
        if taken is not None and taken.holds(artifact, signed.sha256, self.held):
            return replace(signed, notes=() if late is None else (late,))
        if late is not None:
            raise ProvenanceError(
                f"{where}: {late}",
                fix="have it signed with a key that counts now; or set the clock, if it is wrong",
            )
        older = None if taken is None else taken.refusal(artifact, signed.sha256 if exact else None)
        if older is not None and not self.allow_older:
            raise ProvenanceError(
                f"{where}: {older}",
                fix="take the newest; to return to an older one on purpose, say so: allow_older in "
                "the settings, --allow-older on the command line",
            )
        return replace(signed, notes=() if older is None else (f"{older}; allowed",))

    def _now(self) -> datetime:
        """Return the time, never before what was signed: a clock may be set back, or start anew."""
        now = self.clock()
        latest = self.taken.latest() if self.taken is not None else None
        return now if latest is None else max(now, latest)
