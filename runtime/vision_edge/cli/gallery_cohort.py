"""What `vision-edge gallery cohort` says of a station's own frames, for people and programs."""

from __future__ import annotations

from typing import Any

from vision_edge.runtime.gallery.station_frames import MOST_FRAMES, KeptFrames


def document(kept: KeptFrames, forgotten: int) -> dict[str, Any]:
    """Return it as JSON values.

    Args:
        kept: The frames that are kept.
        forgotten: How many were cleared just now.
    """
    return {
        "frames": len(kept.identifiers),
        "most": MOST_FRAMES,
        "stand_for": int(kept.times.sum()),
        "since": kept.since,
        "last": kept.last,
        "forgotten": forgotten,
    }


def lines(name: str, kept: KeptFrames, forgotten: int) -> list[str]:
    """Return it in words, a line each."""
    told = [f"{forgotten} frame(s) forgotten"] if forgotten else []
    count = len(kept.identifiers)
    if not count:
        return [*told, f"{name}: no frames of the station are kept; run or serve collect them"]
    told.append(f"{name}: {count} of at most {MOST_FRAMES} frames of the station, no pictures")
    told.append(f"  they stand for {int(kept.times.sum())}, from {kept.since} to {kept.last}")
    return told
