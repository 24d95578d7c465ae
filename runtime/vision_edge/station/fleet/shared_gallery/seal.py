"""Signatures of what a station says to its line: who publishes an entry vouches for it.

An entry that a station says again, for a broker that has forgotten, is signed by that station: all
of a line trust each other. What is signed names the topic, so that no entry counts on another line.
Pictures need no signature: their entry has their hashes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from vision_edge.runtime.errors import GalleryError, ProvenanceError
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.keys import PrivateKey, passphrase_of
from vision_edge.runtime.provenance.signing import enveloped
from vision_edge.runtime.provenance.statement import utc_now
from vision_edge.runtime.provenance.trust import TrustedKey, TrustStore, signers
from vision_edge.station.settings.provenance import ProvenanceSettings

ENTRIES = ("product/", "negative/")
_KEPT_S = 1.0
"""For how long the store's keys hold as they were read: a line may say thousands of entries."""


class LineSeal:
    """Signs entries on their way out, and checks them on their way in.

    Args:
        base: First levels of the line's topics, without a slash at the end.
        key: Signs; None signs nothing.
        store: Whose entries count; None takes everyone's.
        clock: Says what time it is.
    """

    def __init__(
        self,
        base: str,
        key: PrivateKey | None,
        store: TrustStore | None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._base, self._key, self._store, self._clock = base, key, store, clock
        self._keys: list[TrustedKey] = []
        self._read = -_KEPT_S

    def sealed(self, topic: str, payload: bytes) -> bytes:
        """Return an entry in an envelope; what is no entry as it is."""
        if self._key is None or not payload or not topic.startswith(ENTRIES):
            return payload
        return enveloped(payload, self._key, self._kind(topic)).to_bytes()

    def opened(self, topic: str, payload: bytes) -> bytes:
        """Return the entry of an envelope, if it counts.

        Raises:
            GalleryError: If it is not signed by whom is trusted, where that is asked for.
        """
        signed = b'"payloadType"' in payload[:64]
        if not signed and self._store is None:
            return payload
        try:
            if not signed:
                raise ProvenanceError("an entry that is not signed")
            envelope = Envelope.from_bytes(payload, "an entry", self._kind(topic))
            self._check(envelope)
        except ProvenanceError as error:
            raise GalleryError(error.what) from error
        return envelope.payload

    def _check(self, envelope: Envelope) -> None:
        if self._store is None:
            return
        if time.monotonic() - self._read >= _KEPT_S:
            self._keys, self._read = self._store.keys(), time.monotonic()
        holding, problems = signers(self._keys, envelope)
        for key in holding:
            problem = key.never("line") or key.not_now(self._clock())
            if problem is None:
                return
            problems.append(problem)
        raise ProvenanceError(f"an entry: {'; '.join(problems)}")

    def _kind(self, topic: str) -> str:
        return f"application/vnd.vision-edge.line+json;topic={self._base}/{topic}"


def seal_of(settings: ProvenanceSettings | None, base: str) -> LineSeal | None:
    """Return what signs and checks entries; None where the settings ask for neither.

    Args:
        settings: The section `[provenance]`.
        base: First levels of the line's topics.

    Raises:
        ProvenanceError: If the key or the store cannot be read.
    """
    if settings is None:
        return None
    secret = settings.line_passphrase_file
    key = None
    if settings.line_key is not None:
        key = PrivateKey.from_file(settings.line_key, passphrase_of(secret) if secret else None)
    store = TrustStore(settings.trust) if settings.require_line_signature else None
    return LineSeal(base, key, store)
