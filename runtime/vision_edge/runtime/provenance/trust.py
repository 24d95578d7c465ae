"""A trust store: a folder with one file for each key that is trusted, and for what and how long.

Whoever can write into the folder decides whom the device trusts; it is that folder's rights that
all else rests on. A file that is taken away takes trust away: a revoked key that is forgotten is
not trusted either.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.keys import SIGNATURE_BYTES, PublicKey
from vision_edge.runtime.provenance.names import Name
from vision_edge.runtime.provenance.statement import (
    Hash,
    KeyStatement,
    Purpose,
    parsed,
    utc_now,
)
from vision_edge.runtime.system.files import atomic_file, read_regular

MAX_KEYS = 1000
MAX_DAYS = 3660
DAYS = 730
"""For how long a key is trusted unless it is said: two years, so that nobody forgets to rotate."""
_MAX_FILE = 1 << 16


class Revocation(BaseModel):
    """When and why a key was revoked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    reason: Annotated[str, Field(max_length=500)]


class TrustedKey(BaseModel):
    """A key of the store.

    Attributes:
        keyid: Its fingerprint.
        name: What it is called here.
        pem: The public key.
        not_before: From when on it counts.
        not_after: Until when: what is new must have come by then.
        purposes: What it may sign.
        replaced_by: Id of the key that counts instead for what is new.
        trusted_by: Id of the key that vouched for it; None if a person put it here.
        revoked: If it is, nothing that it ever signed counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    keyid: Hash
    name: Name
    pem: Annotated[str, Field(max_length=1000)]
    not_before: AwareDatetime
    not_after: AwareDatetime
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=4)]
    replaced_by: Hash | None = None
    trusted_by: Hash | None = None
    revoked: Revocation | None = None

    @property
    def public(self) -> PublicKey:
        """The key itself."""
        return PublicKey.from_pem(self.pem.encode(), f"the key {self.name!r}")

    @property
    def title(self) -> str:
        """Its name and the beginning of its id, for people."""
        return f"{self.name} ({self.keyid[:16]})"

    def never(self, purpose: Purpose) -> str | None:
        """Return why nothing that it signed counts for a purpose; None if there is no reason."""
        if self.revoked is not None:
            at, why = self.revoked.at.date().isoformat(), self.revoked.reason
            return f"the key {self.title} was revoked on {at}{f' ({why})' if why else ''}"
        if purpose not in self.purposes:
            return (
                f"the key {self.title} is trusted for {' and '.join(self.purposes)}, "
                f"not for {purpose}"
            )
        return None

    def not_now(self, now: datetime) -> str | None:
        """Return why nothing new that it signed counts at a time; None if there is no reason."""
        if self.replaced_by is not None:
            return f"the key {self.title} was replaced by {self.replaced_by[:16]}"
        if now >= self.not_after:
            return f"the key {self.title} expired on {self.not_after.date().isoformat()}"
        if now < self.not_before:
            return (
                f"the key {self.title} counts from {self.not_before.date().isoformat()} on, "
                f"and this machine's clock says {now.date().isoformat()}"
            )
        return None


class TrustStore:
    """The keys that are trusted.

    Args:
        path: The folder.
        create: Make one where there is none.

    Raises:
        ProvenanceError: If there is none, or others than its owner and group may write into it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        try:
            if create:
                path.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode
        except OSError as error:
            raise ProvenanceError(
                f"{path}: there is no trust store ({error.strerror})",
                fix=f"make one: vision-edge keys trust KEY.pub --store {path}",
            ) from error
        if not stat.S_ISDIR(mode) or mode & stat.S_IWOTH:
            raise ProvenanceError(
                f"{path}: {'anyone may write into it' if mode & stat.S_IWOTH else 'no folder'}, "
                "so that it can tell whom to trust to nobody",
                fix=f"chmod o-w {path}, and look through `vision-edge keys list`",
            )

    def __repr__(self) -> str:
        return f"TrustStore({str(self.path)!r})"

    def keys(self) -> list[TrustedKey]:
        """Return every key, sorted by name.

        Raises:
            ProvenanceError: If a file in the folder is no key's, or anyone may write into it.
        """
        paths = sorted(p for p in self.path.iterdir() if not p.name.startswith("."))
        if len(paths) > MAX_KEYS:
            raise ProvenanceError(
                f"{self.path}: {len(paths)} files, more than {MAX_KEYS}", fix="remove old keys"
            )
        return sorted((_read(path) for path in paths), key=lambda key: (key.name, key.keyid))

    def find(self, start: str) -> TrustedKey:
        """Return the key whose id begins so, or that is called so.

        Raises:
            ProvenanceError: If there is none, or more than one.
        """
        keys = self.keys()
        found = [key for key in keys if start == key.name]
        if not found and len(start) >= 8:
            found = [key for key in keys if key.keyid.startswith(start.lower())]
        if len(found) != 1:
            names = ", ".join(key.title for key in keys[:10]) or "none"
            raise ProvenanceError(
                f"{self.path}: {len(found) or 'no'} key(s) {start[:80]!r}",
                fix=f"give a name, or at least 8 digits of an id; there are: {names}",
            )
        return found[0]

    def trust(
        self,
        public: PublicKey,
        name: str,
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        purposes: Sequence[Purpose] = ("bundle", "gallery"),
        trusted_by: str | None = None,
    ) -> TrustedKey:
        """Trust a key from now on, or for another time or purpose than before.

        Args:
            public: The key.
            name: What to call it.
            not_before: From when on; default: now.
            not_after: Until when; default: two years on.
            purposes: What it may sign.
            trusted_by: Id of the key that vouches for it.

        Raises:
            ProvenanceError: If it was revoked, which is for good, or a value is not fit.
        """
        begin = not_before or utc_now()
        end = not_after or begin + timedelta(days=DAYS)
        if not timedelta(0) < end - begin <= timedelta(days=MAX_DAYS):
            raise ProvenanceError(
                f"a key that counts from {begin.date()} until {end.date()}",
                fix=f"give an end after its beginning, within {MAX_DAYS} days",
            )
        known = self._known(public.keyid)
        if known is not None and known.revoked is not None:
            raise ProvenanceError(
                f"the key {known.title} was revoked, which is for good", fix="make a new key"
            )
        try:
            key = TrustedKey(
                keyid=public.keyid, name=name, pem=public.to_pem(), not_before=begin,
                not_after=end, purposes=tuple(dict.fromkeys(purposes)), trusted_by=trusted_by,
            )  # fmt: skip
        except ValidationError as error:
            raise ProvenanceError(
                f"{name[:80]!r} cannot be a key's name", fix="use letters, digits and . : + @ -"
            ) from error
        self._keep(key)
        return key

    def take_endorsed(self, envelope: Envelope, where: str, now: datetime) -> TrustedKey:
        """Trust a new key that a key trusted here vouches for.

        It counts for what both may sign, and if it says so the older one counts no longer for what
        is new. An endorsement is worth no more than the key that signed it is now.

        Raises:
            ProvenanceError: If no key that counts now has signed it.
        """
        keys = self.keys()
        holding, problems = signers(keys, envelope)
        holding = [key for key in holding if not (key.revoked or key.not_now(now))]
        if not holding:
            raise untrusted(where, problems or [f"no key of {self.path} that counts now vouches"])
        older, said = holding[0], parsed(KeyStatement, envelope.payload, where).predicate
        public = PublicKey.from_pem(said.pem.encode(), where)
        purposes = [purpose for purpose in said.purposes if purpose in older.purposes]
        if not purposes:
            raise untrusted(where, [f"the key {older.title} may not sign that itself"])
        if said.replaces not in (None, older.keyid):
            raise untrusted(where, ["a key can be replaced by an endorsement of its own alone"])
        known = self._known(public.keyid)
        if known is not None and known.replaced_by is not None:  # an old endorsement, kept
            raise untrusted(where, [f"{known.not_now(now)}, which no endorsement undoes"])
        new = self.trust(
            public, said.name, not_before=said.not_before, not_after=said.not_after,
            purposes=purposes, trusted_by=older.keyid,
        )  # fmt: skip
        if said.replaces is not None:
            self._keep(older.model_copy(update={"replaced_by": new.keyid}))
        return new

    def revoke(self, start: str, reason: str) -> TrustedKey:
        """Revoke a key for good: nothing that it ever signed counts.

        Args:
            start: Its name, or the beginning of its id.
            reason: Why, for people.

        Raises:
            ProvenanceError: If there is no such key.
        """
        key = self.find(start)
        revocation = Revocation(at=utc_now(), reason=reason[:500])
        revoked = key if key.revoked else key.model_copy(update={"revoked": revocation})
        self._keep(revoked)
        return revoked

    def signer(self, envelope: Envelope, purpose: Purpose, where: str) -> TrustedKey:
        """Return the key whose signature over an envelope holds and counts for a purpose.

        Whether it still counts for what is new, `TrustedKey.not_now` says.

        Raises:
            ProvenanceError: With the reason for each signature that does not count.
        """
        holding, problems = signers(self.keys(), envelope)
        for key in sorted(holding, key=lambda key: key.replaced_by is not None):
            problem = key.never(purpose)
            if problem is None:
                return key
            problems.append(problem)
        raise untrusted(where, problems)

    def _known(self, keyid: str) -> TrustedKey | None:
        return next((key for key in self.keys() if key.keyid == keyid), None)

    def _keep(self, key: TrustedKey) -> None:
        path = self.path / f"{key.keyid[:32]}.json"
        try:
            with atomic_file(path) as temporary:
                text = json.dumps(key.model_dump(mode="json"), indent=1, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ProvenanceError(
                f"{path}: cannot be written ({error.strerror})", fix="check the store's rights"
            ) from error


def signers(keys: Iterable[TrustedKey], envelope: Envelope) -> tuple[list[TrustedKey], list[str]]:
    """Return the keys whose signatures over an envelope hold, and why others do not."""
    by_id = {key.keyid: key for key in keys}
    holding, problems = [], []
    for signature in envelope.signatures:
        hinted = by_id.get(signature.keyid)
        candidates = list(by_id.values()) if not signature.keyid else [hinted] if hinted else []
        shown = signature.keyid[:16] or "an unnamed key"
        if len(signature.sig) != SIGNATURE_BYTES:
            problems.append(
                f"the signature of {shown} is truncated or damaged: {len(signature.sig)} bytes, "
                f"not {SIGNATURE_BYTES}"
            )
            continue
        if not candidates:
            problems.append(f"signed by the key {shown!r}, which is not trusted here")
            continue
        found = [key for key in candidates if key.public.verifies(signature.sig, envelope.signed)]
        holding += found
        if not found:
            problems.append(
                f"the signature of {shown} does not hold: what is signed was altered, or the "
                "signature is another's"
            )
    return holding, problems


def untrusted(where: str, problems: Sequence[str]) -> ProvenanceError:
    """Return the error for what bears no signature that counts, with the reasons."""
    return ProvenanceError(
        f"{where}: {'; '.join(problems)}",
        fix="get it again from whom you trust, signed by a key of the store that counts now "
        "(`vision-edge keys list`)",
    )


def _read(path: Path) -> TrustedKey:
    try:
        target = path.resolve()
        anyones = target.stat().st_mode & stat.S_IWOTH
        key = TrustedKey.model_validate_json(read_regular(target, _MAX_FILE))
        sound = key.public.keyid == key.keyid
    except (OSError, ValueError, ProvenanceError) as error:
        raise ProvenanceError(
            f"{path}: not a key of a trust store", fix="remove it, and trust its key again"
        ) from error
    if anyones:
        raise ProvenanceError(
            f"{path}: anyone may write into it, so that it can tell whom to trust to nobody",
            fix=f"chmod o-w {path}, and look through `vision-edge keys list`",
        )
    if not sound:
        raise ProvenanceError(
            f"{path}: its key is not the one that its id names",
            fix="remove it, and trust its key again",
        )
    return key
