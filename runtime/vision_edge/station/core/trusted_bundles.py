"""Whose bundles a station takes, by the section `[provenance]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vision_edge.station.settings.provenance import ProvenanceSettings

if TYPE_CHECKING:
    from vision_edge.runtime.provenance.checking import Provenance, Signed

TAKEN_FILE = "taken.json"


def provenance_of(settings: ProvenanceSettings | None, folder: Path) -> Provenance | None:
    """Return what must hold of a bundle; None where no signature is asked for.

    Args:
        settings: The section.
        folder: The state folder, where it is remembered what was taken.

    Raises:
        ProvenanceError: If there is no such trust store.
    """
    if settings is None or not settings.require_signature:
        return None
    from vision_edge.runtime.provenance.checking import Provenance
    from vision_edge.runtime.provenance.taken import Taken
    from vision_edge.runtime.provenance.trust import TrustStore

    return Provenance(
        TrustStore(settings.trust),
        Taken(folder / TAKEN_FILE),
        settings.names,
        allow_older=settings.allow_older,
        device_engines=settings.device_engines,
    )


def provenance_notes(signed: Signed | None, *, shared: bool) -> list[str]:
    """Return what a person should know of the signature of the bundle in use.

    Args:
        signed: Whose it is; None where no signature is asked for.
        shared: Whether the gallery is shared with a line whose entries need no signature.
    """
    if signed is None:
        return []
    notes = [f"the bundle in use: {note}" for note in signed.notes]
    if shared:
        notes.append(
            "bundles must be signed, and products come from the line unsigned: "
            "set require_line_signature in [provenance]"
        )
    return notes
