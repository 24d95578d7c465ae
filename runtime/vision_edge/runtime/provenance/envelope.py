"""Signed envelopes: DSSE version 1, so that tools of others check them too.

What is signed is not the payload but its pre-authentication encoding (PAE), which says its type and
both lengths: a signature over one kind of document is none over another. The payload is not parsed
before a signature over it holds. Source: "DSSE: Dead Simple Signing Envelope", protocol.md and
envelope.md of secure-systems-lab/dsse, version 1.0.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from vision_edge.runtime.errors import ProvenanceError
from vision_edge.runtime.provenance.names import MAX_ENVELOPE

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 16


@dataclass(frozen=True)
class Signature:
    """One signature: which key says that it made it (a hint, nothing more), and its bytes."""

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload and signatures over it.

    Attributes:
        payload: What is signed; not to be parsed before a signature holds.
        signatures: At least one.
        payload_type: Its media type, which is signed too.
    """

    payload: bytes
    signatures: tuple[Signature, ...]
    payload_type: str = PAYLOAD_TYPE

    @property
    def signed(self) -> bytes:
        """The bytes that a signature is over: `DSSEv1 LEN TYPE LEN PAYLOAD`."""
        return encoded(self.payload_type, self.payload)

    def to_bytes(self) -> bytes:
        """Return the envelope as JSON, with a line's end."""
        return json.dumps(self.document(), indent=1).encode() + b"\n"

    def document(self) -> dict[str, Any]:
        """Return the envelope as JSON values."""
        return {
            "payloadType": self.payload_type,
            "payload": _base64(self.payload),
            "signatures": [{"keyid": s.keyid, "sig": _base64(s.sig)} for s in self.signatures],
        }

    @staticmethod
    def from_bytes(data: bytes, where: str, kind: str = PAYLOAD_TYPE) -> Envelope:
        """Read an envelope; nothing of it is trusted by that.

        Args:
            data: The JSON, at most `MAX_ENVELOPE` bytes.
            where: What to call it in an error.
            kind: What its payload must be.

        Raises:
            ProvenanceError: If it is no envelope.
        """
        if len(data) > MAX_ENVELOPE:
            raise _unfit(where, f"{len(data)} bytes, more than {MAX_ENVELOPE}")
        try:
            return Envelope.from_document(json.loads(data, object_pairs_hook=_once), where, kind)
        except (ValueError, RecursionError) as error:
            raise _unfit(where, f"not valid JSON ({error})") from error

    @staticmethod
    def from_document(document: object, where: str, kind: str = PAYLOAD_TYPE) -> Envelope:
        """Read an envelope that is JSON values already.

        Raises:
            ProvenanceError: If it is no envelope.
        """
        if not isinstance(document, dict) or set(document) != _MEMBERS:
            raise _unfit(where, f"expected an object of {', '.join(sorted(_MEMBERS))}")
        signatures = document["signatures"]
        if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise _unfit(where, f"expected 1 to {MAX_SIGNATURES} signatures")
        said = document["payloadType"]
        if said != kind:
            raise _unfit(where, f"its payload is {str(said)[:200]!r}, not {kind!r}")
        return Envelope(
            _bytes_of(document["payload"], "its payload", where),
            tuple(_signature(signature, where) for signature in signatures),
            kind,
        )


_MEMBERS = {"payloadType", "payload", "signatures"}


def encoded(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of a payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signature(document: object, where: str) -> Signature:
    if not isinstance(document, dict) or not {"sig"} <= set(document) <= {"sig", "keyid"}:
        raise _unfit(where, "a signature is no object of keyid and sig")
    keyid = document.get("keyid", "")
    if not isinstance(keyid, str) or len(keyid) > 200:
        raise _unfit(where, "a keyid is no short text")
    return Signature(keyid, _bytes_of(document["sig"], "a signature", where))


def _bytes_of(text: object, what: str, where: str) -> bytes:
    """Decode base64, of the standard alphabet or the one of addresses; DSSE allows both."""
    if not isinstance(text, str) or not text.isascii():
        raise _unfit(where, f"{what} is no base64")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise _unfit(where, f"{what} is no base64 ({error})") from error


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that says a member twice: readers would differ in which they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found


def _unfit(where: str, what: str) -> ProvenanceError:
    return ProvenanceError(
        f"{where}: not a signature's envelope: {what}",
        fix="copy it again from where it was signed, or sign again with `vision-edge sign`",
    )
