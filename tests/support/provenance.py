"""What the tests of provenance share: keys, stores, signed bundles, and forgeries of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from support.runtime import make_bundle
from vision_edge.runtime.provenance.checking import Provenance
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.signing import sign_folder, signature_of
from vision_edge.runtime.provenance.statement import Purpose, utc_now
from vision_edge.runtime.provenance.taken import Taken
from vision_edge.runtime.provenance.trust import TrustStore

BOTH: tuple[Purpose, ...] = ("bundle", "gallery")


@dataclass(frozen=True)
class Maker:
    """Who signs, and a store that trusts them.

    Attributes:
        key: Signs.
        path: The key's file.
        store: Trusts it.
    """

    key: PrivateKey
    path: Path
    store: TrustStore

    def provenance(self, taken: Path | None = None, **more: Any) -> Provenance:
        return Provenance(self.store, None if taken is None else Taken(taken), **more)


def make_maker(folder: Path, purposes: Sequence[Purpose] = BOTH, name: str = "release") -> Maker:
    """Make a key and a store that trusts it."""
    folder.mkdir(parents=True, exist_ok=True)
    key, path = PrivateKey.new(), folder / f"{name}.key"
    key.write(path)
    path.with_suffix(".pub").write_text(key.public.to_pem())
    store = TrustStore(folder / "trust", create=True)
    store.trust(key.public, name, purposes=purposes)
    return Maker(key, path, store)


def signed_bundle(
    path: Path, key: PrivateKey, name: str = "line", version: int | None = None, **changes: Any
) -> Path:
    """Write a tiny bundle and sign it."""
    make_bundle(path, **changes)
    sign_folder(path, "bundle", key, name, version)
    return path


def trusted_until(maker: Maker, days: float) -> None:
    """Have the store trust the maker's key until so many days from now; negative: it expired."""
    end = utc_now() + timedelta(days=days)
    begin = min(utc_now(), end) - timedelta(days=30)
    maker.store.trust(maker.key.public, "release", not_before=begin, not_after=end, purposes=BOTH)


def in_days(days: float) -> datetime:
    return utc_now() + timedelta(days=days)


def envelope_of(path: Path) -> dict[str, Any]:
    """Return the envelope of a signed path."""
    document: dict[str, Any] = json.loads(signature_of(path).read_text())
    return document


def put_envelope(path: Path, document: dict[str, Any]) -> None:
    signature_of(path).write_text(json.dumps(document))
