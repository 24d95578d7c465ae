"""The verdict: what the runtime says about one frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from vision_edge.runtime.prototypes import Decision


@dataclass(frozen=True)
class Verdict:
    """A decision on one frame.

    Attributes:
        time: When the verdict was given, UTC.
        source: The file or stream the frame came from.
        frame: The frame's number in its source, from 0.
        age_ms: Age of the frame when the verdict was given, in milliseconds.
        decision: Product or unknown, score and margin.
    """

    time: datetime
    source: str
    frame: int
    age_ms: float
    decision: Decision

    def to_json(self) -> str:
        """Return the verdict as one line of JSON, without a line break."""
        decision = self.decision
        return json.dumps(
            {
                "time": self.time.isoformat(timespec="milliseconds"),
                "source": self.source,
                "frame": self.frame,
                "age_ms": round(self.age_ms, 3),
                "label": decision.label,
                "score": round(decision.score, 6),
                "margin": _rounded(decision.margin),
                "known": decision.known,
                "nearest": decision.nearest,
                "band": decision.band,
                "stranger_rate": _rounded(decision.stranger_rate),
            },
            ensure_ascii=False,
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
